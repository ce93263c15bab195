// Light or dark: as the system has it, until the reader chooses. The choice is kept where the
// browser allows it.
//
// SPDX-License-Identifier: MIT

const key = "mete-report-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function kept() {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function keep(theme) {
  try {
    localStorage.setItem(key, theme);
  } catch {
    // It lasts as long as the page, then.
  }
}

export function startTheme(button) {
  let chosen = kept();
  const show = () => {
    const dark = chosen ? chosen === "dark" : system.matches;
    if (chosen) document.documentElement.dataset.theme = chosen;
    button.textContent = dark ? "Light theme" : "Dark theme";
    return dark;
  };
  show();
  system.addEventListener("change", show);
  button.addEventListener("click", () => {
    chosen = show() ? "light" : "dark";
    keep(chosen);
    show();
  });
  button.hidden = false;
}
