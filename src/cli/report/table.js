// A table that its reader sorts, by click or by keyboard, a column at a time.
//
// SPDX-License-Identifier: MIT
import {element} from "./dom.js";

// What is not there comes last, whichever way the others are sorted.
function compare(a, b, direction) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  return direction * (typeof a === "number" ? a - b : a.localeCompare(b, "en", {numeric: true}));
}

function cell({numeric, heading, value, text}, row) {
  const content = text ? text(row) : (value(row) ?? "");
  return heading
    ? element("th", {scope: "row"}, content)
    : element("td", numeric ? {class: "number"} : {}, content);
}

// Columns have a title, the value(row) that they are sorted by, and what to show of it, text(row);
// `numeric` ones are aligned right. Where instead(row) is not empty, it takes the place of all
// columns from the one marked `replaceable` on. The rows come sorted by the first column.
export function sortableTable(caption, columns, rows, instead = () => "") {
  const body = element("tbody");
  const replaceable = columns.findIndex((column) => column.replaceable);
  const fill = (sorted) =>
    body.replaceChildren(
      ...sorted.map((row) => {
        const words = instead(row);
        const shown = words ? columns.slice(0, replaceable) : columns;
        return element(
          "tr",
          words ? {class: "failed"} : {},
          shown.map((column) => cell(column, row)),
          words ? element("td", {colspan: columns.length - replaceable}, words) : "",
        );
      }),
    );

  const headings = columns.map((column, index) => {
    const button = element("button", {type: "button", click: () => sort(index)}, column.title);
    return element("th", {scope: "col", class: column.numeric ? "number" : undefined}, button);
  });
  const sort = (index) => {
    const heading = headings[index];
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const each of headings) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const valueOf = (row) =>
      index >= replaceable && instead(row) ? undefined : columns[index].value(row);
    fill([...rows].sort((a, b) => compare(valueOf(a), valueOf(b), ascending ? 1 : -1)));
  };
  headings[0].setAttribute("aria-sort", "ascending");
  fill(rows);
  return element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, headings)),
    body,
  );
}
