//! A window to one web site: what the client asks for is fetched from an
//! upstream that the operator chose.
//!
//! | from the client | to the client |
//! | --- | --- |
//! | `get PATH` | `STATUS`, an empty line, and the body |
//! | (anything else) | what to say instead |
//!
//! The operator writes the upstream into `[route.config]`, grants its host, and
//! may add a secret `token`, which goes along with every request.

use wharf_guest::http::{Error, Request};
use wharf_guest::{Handler, Message, Session, log, settings};

#[derive(Default)]
struct Proxy;

impl Handler for Proxy {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let path = message.as_text().and_then(|text| text.strip_prefix("get "));
        let answer = match path {
            Some(path) if path.starts_with('/') => {
                let upstream = settings::get("upstream").unwrap_or_default();
                let url = format!("{upstream}{path}");
                fetch(&url).unwrap_or_else(|error| {
                    log::warn("fetch", &format!("{url}: {error}"));
                    format!("no answer: {error}")
                })
            }
            _ => "say get and a path, such as get /".to_owned(),
        };
        let _ = session.send(&answer);
    }
}

fn fetch(url: &str) -> Result<String, Error> {
    let mut request = Request::get(url);
    if let Some(token) = settings::get("token") {
        request = request.header("authorization", &format!("Bearer {token}"));
    }
    let response = request.send()?;
    Ok(format!("{}\n\n{}", response.status, response.text()))
}

wharf_guest::export!(Proxy);
