// The form of a new token: a choice of providers counts at once, and a provider holds its endpoints.

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
