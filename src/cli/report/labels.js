// Names beside the points that they belong to, where they cover as little as can be.
//
// Each name in turn takes the cheapest of a few places around its point: covering another name
// costs most, a point less, distance least. With ten names that is all it takes; no place is given
// up later.
//
// SPDX-License-Identifier: MIT
import {initializer, text} from "@observablehq/plot";

const height = 14;
const gap = 10; // between a point and its name
const directions = [
  [1, 0],
  [-1, 0],
  [0, -1],
  [0, 1],
  [1, -1],
  [1, 1],
  [-1, -1],
  [-1, 1],
];
const distances = [0, 8, 18, 30, 44];

const ruler = document.createElement("canvas").getContext("2d");
ruler.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;

function widthOf(words) {
  return ruler.measureText(words).width;
}

function overlap(a, b) {
  const across =
    Math.min(a.x + a.width / 2, b.x + b.width / 2) - Math.max(a.x - a.width / 2, b.x - b.width / 2);
  const down =
    Math.min(a.y + a.height / 2, b.y + b.height / 2) -
    Math.max(a.y - a.height / 2, b.y - b.height / 2);
  return across > 0 && down > 0 ? across * down : 0;
}

function placesAround(x, y, width) {
  return distances.flatMap((distance) =>
    directions.map(([across, down]) => ({
      x: x + across * (width / 2 + gap + (down === 0 ? distance : 0)),
      y: y + down * (height / 2 + gap / 2 + distance),
      width,
      height,
      distance,
    })),
  );
}

// Long names are for the tables.
function shortened(name) {
  return name.length > 20 ? `${name.slice(0, 19)}\u2026` : name;
}

// Labels for `medians`, objects with x, y and a name; `others` are points that have none.
export function placedLabels(medians, others, options) {
  const place = initializer(options, (data, facets, channels, scales, dimensions) => {
    const boxes = (points, size) =>
      points.map(({x, y}) => ({x: scales.x(x), y: scales.y(y), width: size, height: size}));
    const points = [...boxes(medians, 14), ...boxes(others, 6)];
    const {width, height, marginRight, marginLeft, marginTop, marginBottom} = dimensions;
    const outside = (box) =>
      Math.max(0, marginLeft - box.x + box.width / 2) +
      Math.max(0, box.x + box.width / 2 - width + marginRight) +
      Math.max(0, marginTop - box.y + box.height / 2) +
      Math.max(0, box.y + box.height / 2 - height + marginBottom);
    const placed = [];
    const costOf = (box) =>
      placed.reduce((sum, other) => sum + 20 * overlap(box, other), 0) +
      points.reduce((sum, point) => sum + overlap(box, point), 0) +
      100 * outside(box) +
      3 * box.distance;
    const places = medians.map(({name, x, y}) => {
      const around = placesAround(scales.x(x), scales.y(y), widthOf(shortened(name)) + 4);
      const best = around.reduce((a, b) => (costOf(b) < costOf(a) ? b : a));
      placed.push(best);
      return best;
    });
    return {
      data,
      facets,
      channels: {
        x: {value: places.map(({x}) => x)},
        y: {value: places.map(({y}) => y)},
      },
    };
  });
  return text(medians, {
    ...place,
    text: ({name}) => shortened(name),
    textAnchor: "middle",
    fontWeight: 600,
    stroke: "var(--page)",
    strokeWidth: 4,
    paintOrder: "stroke",
  });
}
