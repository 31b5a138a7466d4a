// Light or dark as the system says, unless the reader has chosen. Loaded in the head
// without "defer", so that the choice is in force before anything is painted.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // Storage is forbidden: the choice lasts as long as the page.
    }
  }

  function remember(theme) {
    try {
      if (theme) localStorage.setItem("theme", theme);
      else localStorage.removeItem("theme");
    } catch {
      // As above.
    }
  }

  function apply(theme) {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  }

  apply(remembered());
  // Another tab has chosen.
  window.addEventListener("storage", ({ key, newValue }) => {
    if (key === "theme") apply(newValue);
  });
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-switch]");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.hidden = false;
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      // Who returns to the system's choice follows the system again.
      const choice = (theme === "dark") === system.matches ? null : theme;
      apply(choice);
      remember(choice);
      show();
    });
    system.addEventListener("change", show);
    window.addEventListener("storage", show);
    show();
  });
})();
