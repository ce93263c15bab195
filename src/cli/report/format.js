// Numbers and commands as people read them.
//
// SPDX-License-Identifier: MIT

const minus = "\u2212";
const enDash = "\u2013";
const noBreakSpace = "\u00a0";
const wholeFigures = new Set(["faults", "switches", "mappings"]);

const numberFormats = []; // by decimals; making one takes long

function withDecimals(value, decimals) {
  numberFormats[decimals] ??= new Intl.NumberFormat("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
  return numberFormats[decimals].format(value).replace("-", minus);
}

// One number of decimals for all values that are compared with each other: four digits of the
// largest time or metric, three of others, and up to two more for the smallest.
export function formatterFor(figureName, values) {
  const sizes = values.map(Math.abs).filter((size) => size > 0 && Number.isFinite(size));
  let decimals = 0;
  if (sizes.length > 0 && !wholeFigures.has(figureName)) {
    const magnitude = (size) => Math.floor(Math.log10(size));
    const ofLargest = Math.max(
      (figureName === "time" || figureName === "metric" ? 3 : 2) - magnitude(Math.max(...sizes)),
      0,
    );
    const ofSmallest = 1 - magnitude(Math.min(...sizes));
    decimals = Math.min(Math.max(ofLargest, Math.min(ofSmallest, ofLargest + 2)), 9);
  }
  return (value) => (value === undefined ? "" : withDecimals(value, decimals));
}

export function withUnit(text, unit) {
  return unit ? `${text}${noBreakSpace}${unit}` : text;
}

export function titleWithUnit({title, unit}) {
  return unit ? `${title}, ${unit}` : title;
}

// "0.68 (0.66–0.71)": as many decimals as tell the interval from 1.
export function ratioText({value, low, high}) {
  const narrow = value < 0.1 || (Math.abs(value - 1) < 0.1 && high - low < 0.02);
  const decimals = narrow ? 3 : value >= 10 ? 1 : 2;
  const text = (number) => withDecimals(number, decimals);
  return `${text(value)} (${text(low)}${enDash}${text(high)})`;
}

// The words as a shell reads them.
export function shellText(words) {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
