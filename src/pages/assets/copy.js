// Buttons that copy a text of the page.

import { tell } from "./api.js";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      tell("Copied.");
    } catch {
      // Browsers give scripts no clipboard without TLS: the text is selected, and the keyboard copies it.
      getSelection().selectAllChildren(source);
      tell("Selected: press Ctrl+C (⌘C on a Mac).");
    }
  });
}
