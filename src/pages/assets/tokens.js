// The form of a new token: a choice of providers counts at once, a provider holds its endpoints, and many are searched.

const scopes = document.getElementById("scopes");
const some = document.querySelector("input[name=reach][value=some]");

function show(scope) {
  const whole = scope.querySelector("[data-whole]");
  for (const endpoint of scope.querySelectorAll("input:not([data-whole])")) endpoint.disabled = whole.checked;
}

for (const scope of scopes?.children ?? []) {
  scope.addEventListener("change", (event) => {
    if (event.target.checked) some.checked = true;
    show(scope);
  });
  show(scope);
}

/** Providers from which on a search helps. */
const MANY = 12;

function search(words) {
  let found = 0;
  for (const scope of scopes.children) {
    const text = scope.textContent.toLowerCase();
    const chosen = scope.querySelector("input:checked");
    scope.hidden = !chosen && !words.every((word) => text.includes(word));
    found += scope.hidden ? 0 : 1;
  }
  document.getElementById("no-scope").hidden = found > 0;
}

if (scopes?.children.length > MANY) {
  const box = document.getElementById("scope-search");
  box.closest(".search").hidden = false;
  box.addEventListener("input", () => search(box.value.toLowerCase().split(/\s+/).filter(Boolean)));
  box.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
}
