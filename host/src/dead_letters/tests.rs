//! The bounds of what is kept, and who finds what.

use super::*;

fn letter(tenant: &str, route: &str, payload_bytes: usize) -> DeadLetter {
    DeadLetter {
        incident: IncidentId::random(),
        at: SystemTime::UNIX_EPOCH,
        tenant: tenant.into(),
        route: route.into(),
        component: "c".into(),
        generation: 1,
        worker: 0,
        call: "on-messages",
        kind: "guest_trap",
        error: String::new(),
        outcome: "closed",
        sessions_closed: 1,
        timer: None,
        sessions: Vec::new(),
        messages: vec![DeadMessage {
            session: "s".into(),
            kind: "text",
            payload_bytes,
            payload: vec![b'x'; payload_bytes].into(),
        }],
    }
}

fn settings() -> DeadLetterSettings {
    DeadLetterSettings {
        route_letters_max: 3,
        route_bytes_max: 10_000,
        tenant_bytes_max: 15_000,
        payload_bytes_max: 8_000,
    }
}

/// Payload bytes of a tenant's letters, the newest first.
fn sizes(letters: &DeadLetters, tenant: &str) -> Vec<usize> {
    let list = letters.list(tenant, u64::MAX, 100);
    let size = |(_, letter): &(u64, Arc<DeadLetter>)| letter.messages[0].payload_bytes;
    list.iter().map(size).collect()
}

fn dropped(letters: &DeadLetters) -> u64 {
    let figures = letters.figures().into_iter();
    figures.map(|(_, figures)| figures.dropped).sum()
}

#[test]
fn the_oldest_of_a_route_make_room_by_number_and_by_bytes() {
    let letters = DeadLetters::new(settings());
    for bytes in [1, 2, 3, 4] {
        letters.keep(letter("acme", "/a", bytes));
    }
    assert_eq!(sizes(&letters, "acme"), [4, 3, 2]);
    letters.keep(letter("acme", "/a", 6_000));
    letters.keep(letter("acme", "/a", 7_000));
    assert_eq!(sizes(&letters, "acme"), [7_000]);
    assert_eq!(dropped(&letters), 5);
    // One that is too large by itself leaves nothing behind.
    letters.keep(letter("acme", "/a", 20_000));
    assert_eq!(sizes(&letters, "acme"), [0; 0]);
    let (_, figures) = letters.figures().remove(0);
    assert_eq!((figures.kept, figures.written, figures.dropped), (0, 7, 7));
}

#[test]
fn the_oldest_of_a_tenant_make_room_and_no_others() {
    let letters = DeadLetters::new(settings());
    letters.keep(letter("bolt", "/a", 9));
    for (route, bytes) in [("/a", 5_000), ("/b", 5_001), ("/c", 5_002)] {
        letters.keep(letter("acme", route, bytes));
    }
    assert_eq!(sizes(&letters, "acme"), [5_002, 5_001]);
    assert_eq!(sizes(&letters, "bolt"), [9]);
    assert_eq!(dropped(&letters), 1);
}

#[test]
fn an_incident_is_found_by_who_may_see_it_until_it_is_deleted() {
    let letters = DeadLetters::new(settings());
    let (own, other) = (letter("acme", "/a", 1), letter("bolt", "/a", 2));
    let (incident, foreign) = (own.incident, other.incident);
    letters.keep(own.clone());
    letters.keep(other);
    let of_acme = |tenant: &str| tenant == "acme";
    assert_eq!(letters.find(incident, of_acme).as_deref(), Some(&own));
    assert_eq!(letters.find(foreign, of_acme), None);
    assert!(letters.find(foreign, |_| true).is_some());
    assert!(!letters.delete("acme", foreign));
    assert!(letters.delete("acme", incident));
    assert!(!letters.delete("acme", incident));
    assert_eq!(letters.find(incident, |_| true), None);
    assert_eq!(letters.delete_all("bolt"), 1);
    assert_eq!(sizes(&letters, "bolt"), [0; 0]);
    assert_eq!(dropped(&letters), 0, "what was deleted was not dropped");
}

#[test]
fn pages_begin_where_the_last_one_ended() {
    let letters = DeadLetters::new(settings());
    for bytes in [1, 2, 3] {
        letters.keep(letter("acme", "/a", bytes));
    }
    let page = letters.list("acme", u64::MAX, 2);
    assert_eq!(page.len(), 2);
    let rest = letters.list("acme", page[1].0, 2);
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].1.messages[0].payload_bytes, 1);
}

#[test]
fn a_further_route_takes_the_place_of_the_quietest() {
    let letters = DeadLetters::new(settings());
    for route in 0..ROUTES_MAX {
        letters.keep(letter("acme", &format!("/{route}"), 0));
    }
    letters.keep(letter("acme", "/0", 0));
    letters.keep(letter("bolt", "/new", 0));
    let figures = letters.figures();
    assert_eq!(figures.len(), ROUTES_MAX);
    let has = |name: &str| figures.iter().any(|((_, route), _)| **route == *name);
    assert!(has("/new") && has("/0") && !has("/1"));
}
