// Sets the chosen theme before the first paint. Without a choice, the system's preference applies.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is forbidden here; the system's preference applies.
}
