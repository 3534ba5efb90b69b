// Before the first paint: the theme that was chosen. Without one the system's preference counts.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is forbidden here; the system's preference counts.
}
