// Light or dark: as the system has it, or as the button says, which is remembered where a browser lets pages do that.
const root = document.documentElement;
try { root.dataset.theme = localStorage.getItem("retrainlab theme") ?? ""; } catch { /* a browser that keeps nothing */ }
addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("retrainlab theme", root.dataset.theme); } catch { /* it lasts as long as the page */ }
    tell();
  });
  system.addEventListener("change", tell);
  tell();
});

// A menu of the nav closes by Escape, and when something else is meant.
const menu = () => document.querySelector("header details[open]");
addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && menu();
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});
addEventListener("pointerdown", (event) => { if (menu() && !menu().contains(event.target)) menu().open = false; });
addEventListener("focusin", (event) => { if (menu() && !menu().contains(event.target)) menu().open = false; });
