// What is slow to read is read when somebody opens it, anew each time; without this, a link beside it leads there.

document.addEventListener(
  "toggle",
  async (event) => {
    const details = event.target;
    if (!(details instanceof HTMLDetailsElement) || !details.open || !details.dataset.loads) return;
    const place = details.querySelector("[data-loaded]");
    place.textContent = "Reading… a cluster may take some seconds.";
    try {
      // The header keeps what is to be said once for the next whole page.
      const answer = await fetch(details.dataset.loads, { headers: { "X-Live": "1" } });
      if (!answer.ok || answer.redirected) throw new TypeError(`the dashboard answers ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      place.replaceChildren(...fresh.body.childNodes);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      place.textContent = "The output could not be read now; close this and open it again.";
    }
  },
  true,
);

// A large workflow is shown where the job is.
for (const box of document.querySelectorAll(".flow-box")) {
  const here = box.querySelector(".here");
  if (here === null) continue;
  const inner = here.getBoundingClientRect();
  const outer = box.getBoundingClientRect();
  box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  box.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
}
