// The button that changes between the light and the dark theme.

import { fill, icon } from "./dom.js";
import { iconButton } from "./widgets.js";

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function themeButton() {
  const label = () => (isDark() ? "Use the light theme" : "Use the dark theme");
  const control = iconButton(isDark() ? "sun" : "moon", label(), () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // Storage is forbidden here, so the choice is not remembered.
    }
    fill(control, icon(theme === "dark" ? "sun" : "moon"));
    control.setAttribute("aria-label", label());
    control.title = label();
  });
  return control;
}
