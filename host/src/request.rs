//! What the handshake said, kept for as long as the session lives.
//!
//! Plain data: it knows neither hyper nor WIT. Ingress fills it; capabilities show it to the guest.

/// The HTTP request that asked for a session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// `http` or `https`: how the client reached the listener.
    pub scheme: &'static str,
    /// The Host header's value.
    pub authority: String,
    /// The target's path as the client wrote it, percent-encoding included.
    pub path: String,
    /// What follows the first `?` of the target.
    pub query: Option<String>,
    /// What the route's placeholders matched, percent-decoded, in route order.
    pub params: Vec<(String, String)>,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Address and port of the client.
    pub remote_address: String,
    /// What the client offers in Sec-WebSocket-Protocol, in its order.
    pub subprotocols: Vec<String>,
    /// The one of them that the route's own list picked; the handler's acceptance may name another.
    pub subprotocol: Option<String>,
}

impl Request {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }

    /// What the placeholder `name` matched.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_header_of_a_name_answers() {
        let request = Request {
            headers: vec![
                ("cookie".into(), b"a=1".to_vec()),
                ("cookie".into(), b"b=2".to_vec()),
            ],
            ..Request::default()
        };
        assert_eq!(request.header("cookie"), Some(b"a=1".as_slice()));
        assert_eq!(request.header("host"), None);
    }
}
