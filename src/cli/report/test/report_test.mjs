// The report in a real browser: what is drawn, sorted, copied, printed, and how well it reads.
//
// node report_test.mjs MAKER CHROMIUM FOLDER: MAKER turns JSON on its standard input into a report
// on its output, as mete compare does; screenshots go to FOLDER.
//
// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {execFileSync} from "node:child_process";
import {existsSync, mkdirSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {after, before, test} from "node:test";
import {pathToFileURL} from "node:url";
import {chromium} from "playwright-core";
import * as fixtures from "./fixtures.mjs";

const [maker, executablePath, folder] = process.argv.slice(2);
const desktop = {width: 1280, height: 900};
const phone = {width: 360, height: 740};
let browser;

before(async () => {
  assert.ok(
    existsSync(executablePath),
    `no Chromium at '${executablePath}'; install it: script/bootstrap test`,
  );
  mkdirSync(folder, {recursive: true});
  browser = await chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
});
after(() => browser?.close());

// A test with the report of that fixture open in a fresh browser profile. Anything that the page
// asks the network for, or complains of, fails it.
function pageTest(title, fixture, options, check) {
  test(title, async () => {
    const data = fixtures[fixture]();
    const file = join(folder, `${fixture}.html`);
    writeFileSync(file, execFileSync(maker, {input: JSON.stringify(data), maxBuffer: 1 << 28}));
    const context = await browser.newContext({viewport: desktop, ...options});
    const page = await context.newPage();
    const complaints = [];
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.stack));
    page.on("request", (request) => {
      if (request.url() !== pathToFileURL(file).href) complaints.push(`request: ${request.url()}`);
    });
    await page.goto(pathToFileURL(file).href);
    try {
      await check(page, data, context);
      assert.deepEqual(complaints, []);
    } finally {
      await context.close();
    }
  });
}

function screenshot(page, name) {
  return page.screenshot({path: join(folder, `${name}.png`), fullPage: true});
}

const countingRuns = ({candidates}) =>
  candidates.flatMap(({runs}) => runs.filter(({failure}) => !failure));
const measured = ({candidates}) => candidates.filter(({figures}) => figures.time);

async function assertDrawn(section, workload) {
  const count = (selector) => section.locator(selector).count();
  const candidates = measured(workload);
  const names = new Set(candidates.flatMap(({figures}) => Object.keys(figures)));
  for (const name of ["cpu", "user", "system", "faults", "switches", "mappings"])
    names.delete(name);
  const plots = names.size;
  assert.equal(await count(".medians > *"), candidates.length, "medians");
  assert.equal(await count(".runs > *"), countingRuns(workload).length, "runs");
  assert.equal(await count(".pair .names > *"), candidates.length, "names");
  assert.equal(await count(".lines > *"), candidates.length, "lines");
  assert.equal(await count(".bars > *"), plots * candidates.length, "bars");
  assert.equal(await count(".whiskers > *"), plots * candidates.length, "whiskers");
  assert.equal(await count(".ratios > *"), plots * Math.max(0, candidates.length - 1), "ratios");
  assert.equal(
    await count(".lazily-freed > *"),
    candidates.filter(({runs}) =>
      runs.some(({memory_samples: samples}) => samples.some(([, , lazily]) => lazily > 0)),
    ).length,
    "lazily freed",
  );
}

// No text of the one kind lies on one of the other.
async function assertApart(page, one, other) {
  const boxes = (selector) =>
    page.locator(selector).evaluateAll((all) =>
      all.map((each) => {
        const {x, y, width, height} = each.getBoundingClientRect();
        return {x, y, width, height, text: each.textContent};
      }),
    );
  for (const a of await boxes(one))
    for (const b of await boxes(other))
      assert.ok(
        (a.x === b.x && a.y === b.y) ||
          a.x + a.width <= b.x ||
          b.x + b.width <= a.x ||
          a.y + a.height <= b.y + 3 ||
          b.y + b.height <= a.y + 3,
        `"${a.text}" and "${b.text}" overlap`,
      );
}

function openAll(page) {
  return page.evaluate(() =>
    document.querySelectorAll("details").forEach((each) => (each.open = true)),
  );
}

const runsTable = (page) => page.locator("details table");
const column = (table, index) =>
  table.locator(`tbody tr:not(.failed) > :nth-child(${index})`).allTextContents();

pageTest("two allocators: verdict, figures and their lengths", "two", {}, async (page, data) => {
  assert.equal(await page.title(), `${data.title} \u2013 mete compare`);
  assert.equal(await page.locator("#verdict").textContent(), data.verdict);
  await assertDrawn(page.locator(".workload"), data.workloads[0]);
  const [glibc, mete] = data.workloads[0].candidates;

  const time = page.locator(".row figure").first();
  const boxes = (selector) =>
    time
      .locator(`${selector} > *`)
      .evaluateAll((all) =>
        all.map((each) => each.getBBox()).map(({x, width}) => ({x, end: x + width})),
      );
  const [first, second] = await boxes(".bars");
  const pixels = first.end / glibc.figures.time.median;
  assert.ok(Math.abs(second.end - mete.figures.time.median * pixels) < 1, "bars are in proportion");
  const [, whisker] = await boxes(".whiskers");
  assert.ok(Math.abs(whisker.x - mete.figures.time.lowest * pixels) < 1, "whisker from the lowest");
  assert.ok(Math.abs(whisker.end - mete.figures.time.highest * pixels) < 1, "to the highest");

  const {value, low, high} = mete.figures.time.ratio;
  const words = `${value.toFixed(2)} (${low.toFixed(2)}\u2013${high.toFixed(2)})`;
  assert.deepEqual(await time.locator(".ratios > *").allTextContents(), [words]);
  assert.match(await time.locator("svg").getAttribute("aria-label"), /^Time\. glibc: 1\.19\d/);
  const cells = await page
    .locator(".figures tbody tr")
    .nth(1)
    .locator("td")
    .first()
    .locator("small")
    .allTextContents();
  assert.deepEqual(cells.slice(1), [words, "lower"]);
});

pageTest(
  "the table of runs is sorted by click and by keyboard",
  "everything",
  {},
  async (page, data) => {
    await page.locator("details summary", {hasText: "All 45 runs"}).click();
    const table = runsTable(page);
    const heading = table.locator("th", {hasText: "Time, s"}).first();
    const expected = countingRuns(data.workloads[0])
      .map(({time}) => time)
      .sort((a, b) => a - b);
    const shown = async () => (await column(table, 3)).map(Number);
    const rounded = expected.map((each) => Number(each.toFixed(3)));

    assert.equal(await table.locator("th[aria-sort]").textContent(), "Round");
    await heading.locator("button").click();
    assert.equal(await heading.getAttribute("aria-sort"), "ascending");
    assert.deepEqual(await shown(), rounded);
    await heading.locator("button").press("Enter");
    assert.equal(await heading.getAttribute("aria-sort"), "descending");
    assert.deepEqual(await shown(), [...rounded].reverse());
    assert.equal(await table.locator("th[aria-sort]").count(), 1);

    // Numbers are sorted as numbers, and a failed run is a row that says so, after all others.
    const metric = table.locator("th", {hasText: "Metric"});
    await metric.locator("button").press("Space");
    const metrics = (await column(table, 5)).map((each) => Number(each.replaceAll(",", "")));
    assert.deepEqual(
      metrics,
      [...metrics].sort((a, b) => a - b),
    );
    assert.ok(metrics[0] < 100000 && metrics.at(-1) > 100000);
    const classes = await table
      .locator("tbody tr")
      .evaluateAll((rows) => rows.map((row) => row.className));
    assert.deepEqual(classes, [...Array(40).fill(""), ...Array(5).fill("failed")]);
    assert.equal(
      await table.locator("tr.failed td[colspan]").first().textContent(),
      "failed: exit status 1; its last words: cannot start",
    );
  },
);

pageTest("metrics by name get bars and columns of their own", "metrics", {}, async (page, data) => {
  await assertDrawn(page.locator(".workload"), data.workloads[0]);
  const titles = await page.locator(".row figcaption").allTextContents();
  assert.equal(titles.length, 4);
  assert.match(titles[2], /malloc p50.*lower is better/);
  assert.match(titles[3], /malloc p99\.9.*lower is better/);
  await assertApart(page, ".row .values > *", ".row .ratios > *");
  await screenshot(page, "metrics");
});

pageTest(
  "nine allocators, a metric and a candidate that always fails",
  "everything",
  {},
  async (page, data) => {
    const [workload] = data.workloads;
    await assertDrawn(page.locator(".workload"), workload);
    assert.equal(await page.locator(".row figure").count(), 3);
    assert.equal(await page.locator(".row .failures > *").count(), 3);
    assert.equal(
      await page.locator(".figures tr", {hasText: "broken"}).textContent(),
      "brokenno run counts",
    );
    await assertApart(page, ".pair .names > *", ".pair .names > *");
    await assertApart(page, ".row .values > *", ".row .ratios > *");
    for (const words of [
      workload.setup,
      workload.client,
      ...workload.candidates.map(({command}) => command),
    ])
      assert.ok((await page.locator(".workload pre").allTextContents()).includes(words), words);
    await screenshot(page, "desktop-light");
  },
);

pageTest(
  "commands are copied",
  "two",
  {permissions: ["clipboard-read", "clipboard-write"]},
  async (page, data) => {
    const button = page.locator("#details .copy");
    await button.click();
    await button.getByText("Copied").waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), data.command);
  },
);

pageTest("without a clipboard the command is selected", "two", {}, async (page, data) => {
  await page.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error("denied"));
  });
  await page.locator("#details .copy").click();
  await page.getByText("Selected: press Ctrl+C").waitFor();
  assert.equal(await page.evaluate(() => getSelection().toString()), data.command);
});

pageTest(
  "the theme follows the system until it is chosen, and the choice is kept",
  "two",
  {colorScheme: "dark"},
  async (page) => {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await background();
    assert.equal(await page.locator("#theme").textContent(), "Light theme");
    await page.locator("#theme").click();
    const light = await background();
    assert.equal(light, "rgb(255, 255, 255)");
    assert.notEqual(dark, light);
    await page.reload();
    assert.equal(await background(), light);
    assert.equal(await page.locator("#theme").textContent(), "Dark theme");
  },
);

pageTest("points of a curve are drawn as one", "curves", {}, async (page) => {
  const overview = page.locator("#overview");
  const titles = await overview.locator("figcaption strong").allTextContents();
  assert.deepEqual(titles.slice(0, 4), [
    "Time against threads",
    "Peak memory against threads",
    "pair against size",
    "Peak memory against size",
  ]);
  const drawn = (title) => overview.locator("figure", {hasText: title}).locator("svg").first();
  const time = drawn("Time against threads");
  assert.equal(await time.locator(".curves > *").count(), 2);
  assert.equal(await time.locator(".curve-points > *").count(), 10);
  assert.equal(await time.locator(".curve-spans > *").count(), 10);
  assert.equal(await drawn("pair against size").locator(".curve-points > *").count(), 6);
  assert.match(await time.getAttribute("aria-label"), /glibc: 1\.\d+\ss at 1, 19\.?\d*\ss at 16;/);

  // From left to right, equally far apart where the numbers double, and the slower one higher.
  const centres = await time.locator(".curve-points > *").evaluateAll((all) =>
    all.map((each) => {
      const {x, y, width, height} = each.getBoundingClientRect();
      return {x: x + width / 2, y: y + height / 2};
    }),
  );
  const [glibc, mete] = [0, 1].map((which) => centres.filter((_, index) => index % 2 === which));
  const steps = glibc.slice(1).map(({x}, index) => x - glibc[index].x);
  assert.ok(
    steps.every((step) => step > 20 && Math.abs(step - steps[0]) < 1.5),
    `${steps}`,
  );
  assert.ok(glibc.every(({y}, index) => y < mete[index].y));
  await screenshot(page, "curves");
});

pageTest("one run of each", "oneRun", {}, async (page, data) => {
  await assertDrawn(page.locator(".workload"), data.workloads[0]);
  assert.equal(await page.locator(".figures small", {hasText: "too few runs"}).count(), 9);
});

pageTest(
  "runs that fail leave the others, and workloads without any run that counts say so",
  "failing",
  {},
  async (page, data) => {
    const [server, nothing] = await page.locator(".workload").all();
    await assertDrawn(server, data.workloads[0]);
    assert.equal(
      await server.locator("summary").first().textContent(),
      "All 10 runs, of which 6 failed",
    );
    assert.equal(await nothing.locator(".plot").count(), 0);
    assert.ok(await nothing.getByText("No run counts, so there is nothing to draw.").isVisible());
  },
);

pageTest("markup in names stays text", "hostileNames", {}, async (page, data) => {
  assert.equal(await page.locator("h1").textContent(), fixtures.hostile);
  assert.equal(await page.locator("img, main script").count(), 0);
  assert.notEqual(await page.title(), "owned");
  await assertDrawn(page.locator(".workload"), data.workloads[0]);
});

pageTest(
  "many workloads: an overview, and sections that are filled on the way",
  "many",
  {},
  async (page, data) => {
    const sections = page.locator(".workload");
    const others = data.workloads[0].candidates.length - 1;
    assert.equal(await sections.count(), 45);
    assert.equal(await page.locator(".contents a").count(), 45);
    assert.equal(await page.locator("#overview .medians > *").count(), data.means.length + 1);
    assert.equal(
      await page.locator("#overview .clear-ratios > *, #overview .unclear-ratios > *").count(),
      2 * 45 * others,
    );
    assert.equal(await sections.nth(40).locator("figure").count(), 0);
    await page.getByRole("link", {name: "workload-41"}).first().click();
    await sections.nth(40).locator(".lines").first().waitFor();
    const {y} = await sections.nth(40).boundingBox();
    assert.ok(Math.abs(y) < 100, `the section is where the link leads, not ${y} pixels away`);
    await assertDrawn(sections.nth(40), data.workloads[40]);
    assert.ok((await page.locator(".workload.unfilled").count()) > 30, "the others wait");
  },
);

pageTest(
  "printed, every section is there, light and open, without buttons",
  "many",
  {colorScheme: "dark"},
  async (page) => {
    await page.emulateMedia({media: "print", colorScheme: "dark"});
    await page.locator("#workload-45 .lines").first().waitFor();
    assert.equal(await page.locator(".workload .medians").count(), 45);
    assert.equal(await page.locator("main details:not([open])").count(), 0);
    assert.equal(await page.locator("#theme").isVisible(), false);
    assert.equal(await page.locator(".copy").first().isVisible(), false);
    assert.equal(
      await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
      "rgb(255, 255, 255)",
    );
    assert.equal(
      await page.evaluate(
        () => getComputedStyle(document.getElementById("workload-7")).breakBefore,
      ),
      "page",
    );
    await page.emulateMedia({media: "screen"});
    await page.locator("#workload-45 details[open]").first().waitFor({state: "detached"});
  },
);

pageTest("a printed report", "everything", {}, async (page) => {
  await page.pdf({path: join(folder, "print.pdf"), format: "A4", preferCSSPageSize: true});
  assert.equal(
    await page.locator("details[open]", {hasText: "All 45 runs"}).count(),
    0,
    "closed again",
  );
});

for (const fixture of ["everything", "hostileNames", "many"])
  pageTest(
    `on a phone nothing is wider than the screen: ${fixture}`,
    fixture,
    {viewport: phone},
    async (page) => {
      await openAll(page);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), phone.width);
      const font = await page
        .locator(".plot text")
        .first()
        .evaluate((each) => getComputedStyle(each).fontSize);
      assert.equal(font, "12px");
      const wide = await page
        .locator("main svg.plot")
        .evaluateAll(
          (all) =>
            all.filter((each) => each.getAttribute("width") > each.parentElement.clientWidth)
              .length,
        );
      assert.equal(wide, 0, "figures are drawn as wide as their place, not scaled");
      await screenshot(page, `phone-${fixture}`);
    },
  );

pageTest("everything is reached by keyboard, and the focus is seen", "two", {}, async (page) => {
  const seen = [];
  for (let step = 0; step < 60; ++step) {
    await page.keyboard.press("Tab");
    seen.push(
      await page.evaluate(() => {
        const {tagName, textContent, className} = document.activeElement;
        const visible =
          getComputedStyle(document.activeElement).outlineStyle !== "none" || className === "skip";
        return {words: textContent.slice(0, 30), tagName, visible};
      }),
    );
    if (seen.at(-1).words.startsWith("Licences")) break;
  }
  const words = seen.map((each) => each.words);
  const order = [
    "Skip to the content",
    "Dark theme",
    "Details",
    "Round",
    "Allocator",
    "Time, s",
    "Mappings",
    "Copy",
    "Licences",
  ];
  let from = 0;
  for (const each of order) {
    const at = words.findIndex((other, index) => index >= from && other.startsWith(each));
    assert.ok(at >= 0, `${each} is not reached after ${words.slice(0, from).join(", ")}`);
    from = at + 1;
  }
  assert.deepEqual(
    seen.filter(({visible}) => !visible),
    [],
  );
});

// Of every element with text of its own, the contrast with what is behind it, as WCAG defines it.
function lowContrasts() {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const luminance = ([r, g, b]) =>
    [r, g, b]
      .map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
      .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *")].filter(
    (each) =>
      !["SCRIPT", "STYLE", "style"].includes(each.tagName) &&
      [...each.childNodes].some((child) => child.nodeType === 3 && child.data.trim()),
  );
  const found = texts.map((each) => {
    const style = getComputedStyle(each);
    const colours = [
      luminance(channels(each instanceof SVGElement ? style.fill : style.color)),
      luminance(behind(each)),
    ];
    return {
      words: each.textContent.slice(0, 40),
      contrast: (Math.max(...colours) + 0.05) / (Math.min(...colours) + 0.05),
    };
  });
  return {checked: found.length, low: found.filter(({contrast}) => contrast < 4.5)};
}

for (const colorScheme of ["light", "dark"])
  pageTest(
    `text is readable in the ${colorScheme} theme`,
    "everything",
    {colorScheme},
    async (page) => {
      await openAll(page);
      const {checked, low} = await page.evaluate(lowContrasts);
      assert.ok(checked > 300, `${checked} texts`);
      assert.deepEqual(low, []);
      if (colorScheme === "dark") await screenshot(page, "desktop-dark");
    },
  );
