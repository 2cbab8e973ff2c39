// A page that answers a form with a new token: loading it again shows the page without it, and makes no other one.

const page = document.querySelector("[data-page]")?.dataset.page;
if (page) history.replaceState(null, "", page);
