//! Who may: tokens, of which only hashes are known, and a limit on how fast they can be guessed.
//!
//! Pure: what is presented, by whom and when comes in, a decision goes out. A token is 256 random
//! bits, so its hash needs no salt and no slowness; comparing takes the same time whatever is equal.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq};

use super::settings::{AdminScope, AdminToken};

/// Wrong tokens that a peer may present in a row; one more is allowed each second.
const PEER_GUESSES: f64 = 10.0;
const PEER_GUESSES_A_SECOND: f64 = 1.0;
/// The same for all peers together that have never presented a right one.
const ALL_GUESSES: f64 = 100.0;
const ALL_GUESSES_A_SECOND: f64 = 20.0;
/// Peers that are remembered; further ones share one budget.
const PEERS_MAX: usize = 4_096;
/// Bytes of a token; what is longer is wrong.
const TOKEN_BYTES_MAX: usize = 256;

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// No token was presented.
    Missing,
    /// It is none of ours.
    Wrong,
    /// It was one of ours.
    Expired,
    /// Too many were wrong: this one was not looked at.
    TooMany {
        /// When to try again.
        retry_after_seconds: u64,
    },
}

/// The tokens, and who guesses.
#[derive(Debug)]
pub(super) struct Access {
    tokens: Vec<AdminToken>,
    peers: HashMap<IpAddr, Peer>,
    crowd: Peer,
    all: Budget,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    budget: Budget,
    /// It has presented a right token.
    is_known: bool,
}

/// How many wrong tokens are left, and since when.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: f64,
    at: Instant,
    most: f64,
    a_second: f64,
}

impl Budget {
    fn new(most: f64, a_second: f64, now: Instant) -> Self {
        Self {
            left: most,
            at: now,
            most,
            a_second,
        }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + seconds * self.a_second).min(self.most);
        self.at = now;
    }

    fn is_empty(&self) -> bool {
        self.left < 1.0
    }

    fn wait(&self) -> u64 {
        ((1.0 - self.left) / self.a_second).ceil().max(1.0) as u64
    }
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            budget: Budget::new(PEER_GUESSES, PEER_GUESSES_A_SECOND, now),
            is_known: false,
        }
    }
}

impl Access {
    pub(super) fn new(tokens: Vec<AdminToken>, now: Instant) -> Self {
        Self {
            tokens,
            peers: HashMap::new(),
            crowd: Peer::new(now),
            all: Budget::new(ALL_GUESSES, ALL_GUESSES_A_SECOND, now),
        }
    }

    /// Whether any token is known.
    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whose token the value of an Authorization header holds.
    pub(super) fn judge(
        &mut self,
        peer: IpAddr,
        presented: Option<&[u8]>,
        (now, today): (Instant, SystemTime),
    ) -> Result<AdminToken, Denial> {
        let presented = presented.ok_or(Denial::Missing)?;
        self.all.refill(now);
        let all = self.all;
        let one = self.peer(peer, now);
        one.budget.refill(now);
        let exhausted = match one.budget.is_empty() {
            true => Some(one.budget),
            false => (all.is_empty() && !one.is_known).then_some(all),
        };
        if let Some(budget) = exhausted {
            let retry_after_seconds = budget.wait();
            return Err(Denial::TooMany {
                retry_after_seconds,
            });
        }
        let found = token_in(presented).and_then(|token| self.find(token));
        let denial = match found {
            Some(token) if token.expires.is_none_or(|expires| today < expires) => {
                self.peer(peer, now).is_known = true;
                return Ok(token);
            }
            Some(_) => Denial::Expired,
            None => Denial::Wrong,
        };
        self.all.left = (self.all.left - 1.0).max(0.0);
        self.peer(peer, now).budget.left -= 1.0;
        Err(denial)
    }

    /// All are compared, wherever the right one is.
    fn find(&self, token: &[u8]) -> Option<AdminToken> {
        let hash = digest(&SHA256, token);
        let mut found = None;
        for known in &self.tokens {
            let is_equal: Choice = known.sha256.ct_eq(hash.as_ref());
            if bool::from(is_equal) {
                found = Some(known);
            }
        }
        found.cloned()
    }

    fn peer(&mut self, peer: IpAddr, now: Instant) -> &mut Peer {
        let network = network_of(peer);
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&network) {
            // Those that have not guessed for a while are as good as new.
            let rest = Duration::from_secs_f64(PEER_GUESSES / PEER_GUESSES_A_SECOND);
            self.peers
                .retain(|_, peer| peer.is_known || now.duration_since(peer.budget.at) < rest);
            if self.peers.len() >= PEERS_MAX {
                return &mut self.crowd;
            }
        }
        self.peers.entry(network).or_insert_with(|| Peer::new(now))
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::V6(octets.into())
        }
    }
}

/// The token of `Bearer TOKEN` (RFC 6750, section 2.1).
fn token_in(presented: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = presented.split_at_checked(7)?;
    let token = token.trim_ascii();
    let fits = scheme.eq_ignore_ascii_case(b"bearer ") && token.len() <= TOKEN_BYTES_MAX;
    (fits && !token.is_empty()).then_some(token)
}

impl AdminToken {
    /// Whether it reaches what belongs to a tenant.
    pub(super) fn reaches(&self, tenant: &str) -> bool {
        match &self.scope {
            AdminScope::Operator => true,
            AdminScope::Tenant(own) => own == tenant,
        }
    }

    pub(super) fn is_operator(&self) -> bool {
        self.scope == AdminScope::Operator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn token(text: &str, expires: Option<SystemTime>) -> AdminToken {
        AdminToken {
            name: text.to_owned(),
            sha256: digest(&SHA256, text.as_bytes())
                .as_ref()
                .try_into()
                .expect("SHA-256 has 32 bytes"),
            scope: AdminScope::Tenant("acme".into()),
            expires,
        }
    }

    fn judge(
        access: &mut Access,
        peer: IpAddr,
        presented: &str,
        now: Instant,
    ) -> Result<String, Denial> {
        let today = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let judged = access.judge(peer, Some(presented.as_bytes()), (now, today));
        judged.map(|token| token.name)
    }

    #[test]
    fn a_token_is_right_until_it_expires() {
        let now = Instant::now();
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let tokens = vec![
            token("a", None),
            token("b", at(1_001)),
            token("c", at(1_000)),
        ];
        let mut access = Access::new(tokens, now);
        for (presented, expected) in [
            ("Bearer a", Ok("a".to_owned())),
            ("bearer  b ", Ok("b".to_owned())),
            ("Bearer c", Err(Denial::Expired)),
            ("Bearer d", Err(Denial::Wrong)),
            ("Bearer ", Err(Denial::Wrong)),
            ("Basic a", Err(Denial::Wrong)),
            ("a", Err(Denial::Wrong)),
            ("", Err(Denial::Wrong)),
        ] {
            assert_eq!(
                judge(&mut access, HERE, presented, now),
                expected,
                "{presented}"
            );
        }
        let today = SystemTime::UNIX_EPOCH;
        let nothing = access.judge(HERE, None, (now, today));
        assert_eq!(nothing, Err(Denial::Missing));
    }

    #[test]
    fn who_guesses_is_not_heard_for_a_while_and_others_are() {
        let now = Instant::now();
        let mut access = Access::new(vec![token("right", None)], now);
        let other: IpAddr = [10, 0, 0, 1].into();
        assert!(judge(&mut access, other, "Bearer right", now).is_ok());
        for _ in 0..10 {
            let guess = judge(&mut access, HERE, "Bearer wrong", now);
            assert_eq!(guess, Err(Denial::Wrong));
        }
        let too_many = Err(Denial::TooMany {
            retry_after_seconds: 1,
        });
        // The right one is not looked at either: an answer would tell that it is right.
        assert_eq!(judge(&mut access, HERE, "Bearer right", now), too_many);
        assert!(judge(&mut access, other, "Bearer right", now).is_ok());
        let later = now + Duration::from_secs(1);
        assert!(judge(&mut access, HERE, "Bearer right", later).is_ok());
    }

    #[test]
    fn many_who_guess_are_stopped_together_and_the_known_are_heard() {
        let now = Instant::now();
        let mut access = Access::new(vec![token("right", None)], now);
        assert!(judge(&mut access, HERE, "Bearer right", now).is_ok());
        let mut looked_at = 0;
        for number in 0..100_000_u32 {
            let peer = IpAddr::from(number.to_be_bytes());
            if judge(&mut access, peer, "Bearer wrong", now) == Err(Denial::Wrong) {
                looked_at += 1;
            }
        }
        assert_eq!(looked_at, ALL_GUESSES as u32);
        assert!(access.peers.len() <= PEERS_MAX);
        assert!(judge(&mut access, HERE, "Bearer right", now).is_ok());
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_a_budget() {
        let of = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
