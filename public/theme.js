// The theme switch: as the system, light or dark; remembered. Runs before the first paint, so that nothing flashes, and
// needs no WebAssembly. Without it the page follows the system.
(() => {
  const root = document.documentElement;
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // A private window has no storage; that is fine.
    }
  };
  const set = (theme) => {
    const chosen = theme === "light" || theme === "dark" ? theme : "system";
    if (chosen === "system") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", chosen);
    for (const button of document.querySelectorAll("[data-set-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.setTheme === chosen));
    }
  };
  set(stored());
  document.addEventListener("DOMContentLoaded", () => set(stored()));
  addEventListener("storage", (event) => {
    if (event.key === "theme") set(event.newValue);
  });
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-set-theme]");
    if (!button) return;
    set(button.dataset.setTheme);
    try {
      localStorage.setItem("theme", button.dataset.setTheme);
    } catch {
      // It holds until the next page.
    }
  });
})();
