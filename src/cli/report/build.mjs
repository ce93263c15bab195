// Makes one page, page.html, of report.html, its style and its modules, with the licences of every
// package that is in it. The data of a report is put in later, by report.cpp.
//
// It runs in a copy of this folder, with node_modules beside it.
//
// SPDX-License-Identifier: MIT
import {readFileSync, readdirSync, writeFileSync} from "node:fs";
import {build} from "esbuild";

// Of the browsers, those of 2024 and later: the style uses light-dark().
const target = ["chrome123", "firefox120", "safari17.5"];

async function bundle(entry, format) {
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format,
    target,
    charset: "utf8",
    legalComments: "none", // all licences stand in the page, whole
    metafile: true,
    write: false,
    outdir: "bundle",
    logLevel: "warning",
  });
  return {text: result.outputFiles[0].text.trim(), outputs: Object.values(result.metafile.outputs)};
}

// The packages of which there is something in the output.
function packagesIn(outputs) {
  const packages = new Set();
  for (const {inputs} of outputs)
    for (const [path, {bytesInOutput}] of Object.entries(inputs)) {
      const name = path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1];
      if (name && bytesInOutput > 0) packages.add(name);
    }
  return [...packages].sort();
}

function escapedHtml(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
}

function licenceOf(name) {
  const folder = `node_modules/${name}`;
  const {version, license} = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[cs]e(\.|$)/i.test(each));
  if (!file) throw new Error(`${name} has no licence file`);
  const text = readFileSync(`${folder}/${file}`, "utf8").trim();
  return `<h3>${escapedHtml(`${name} ${version}, ${license}`)}</h3>\n<pre>${escapedHtml(text)}</pre>`;
}

// Each placeholder is there once, so that nothing is left out and nothing is replaced by chance.
function replaced(page, placeholder, text) {
  const parts = page.split(placeholder);
  if (parts.length !== 2) throw new Error(`${placeholder} is there ${parts.length - 1} times`);
  return parts.join(text);
}

const style = await bundle("report.css", undefined);
const script = await bundle("page.js", "iife");
if (/<\/script|<!--/i.test(script.text)) throw new Error("the script would end its own element");

let page = readFileSync("report.html", "utf8");
page = replaced(page, "@METE_REPORT_STYLE@", style.text);
page = replaced(page, "@METE_REPORT_SCRIPT@", script.text);
page = replaced(
  page,
  "@METE_REPORT_LICENCES@",
  packagesIn(script.outputs).map(licenceOf).join("\n"),
);
replaced(page, "@METE_REPORT_DATA@", "");
writeFileSync("page.html", page);
