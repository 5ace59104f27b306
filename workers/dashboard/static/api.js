// Asking the server. A 401 asks for the token once, whoever asked first.

let asking = null;

export function seriesPath(series, what, query = {}) {
  // No path can hold these.
  const odd = series === "." || series === ".." || /[\r\n]/.test(series);
  const path = `/api/series/${odd ? "-" : encodeURIComponent(series)}/${what}`;
  const full = odd ? { ...query, series } : query;
  return `${path}?${new URLSearchParams(full)}`;
}

export async function get(path) {
  return ask(path, { method: "GET" });
}

export async function send(method, path, body) {
  return ask(path, { method, body: body === undefined ? undefined : JSON.stringify(body), headers: { "Content-Type": "application/json", "X-Tidecast": "1" } });
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is `tidecast dashboard` still running?");
  }
  if (answer.status === 401 && path !== "/api/session") {
    asking = asking || signIn().finally(() => { asking = null; });
    await asking;
    return ask(path, options);
  }
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(typeof told.detail === "string" ? told.detail : `The server says ${answer.status}.`), { status: answer.status });
  return told;
}

function signIn() {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    dialog.innerHTML = `<form method="dialog"><label for="token">This page needs a token (dashboard.read_token or operate_token)</label>
      <input id="token" type="password" autocomplete="current-password" required><p class="bad" role="alert" hidden></p><button>Sign in</button></form>`;
    document.body.append(dialog);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await send("POST", "/api/session", { token: dialog.querySelector("input").value });
        dialog.remove();
        resolve();
      } catch (error) {
        const said = dialog.querySelector("[role=alert]");
        said.textContent = error.message;
        said.hidden = false;
      }
    });
    dialog.showModal();
  });
}
