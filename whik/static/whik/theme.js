// Light or dark as in the system's settings, unless the reader has chosen. Loaded in the head
// without "defer", so that it takes effect before the page is painted.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // Storage is blocked: the choice lasts as long as the page.
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
  // The choice was made in another tab.
  window.addEventListener("storage", ({ key, newValue }) => {
    if (key === "theme") apply(newValue);
  });
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-switch]");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.hidden = false;
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      // A choice equal to the system's follows the system again.
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
