//! Which route answers where, and which routes cannot stand together.

use super::*;

fn socket(pattern: &str) -> Route {
    Route::new(pattern, Target::Component(ProgramId(0)))
}

fn speaking(pattern: &str, subprotocols: &[&str]) -> Route {
    Route {
        subprotocols: subprotocols.iter().map(ToString::to_string).collect(),
        ..socket(pattern)
    }
}

fn page(pattern: &str) -> Route {
    Route::new(
        pattern,
        Target::Page(Page {
            body: Bytes::new(),
            content_type: "text/html",
        }),
    )
}

fn on_host(host: &str, route: Route) -> Route {
    Route {
        hosts: vec![host.to_owned()],
        ..route
    }
}

/// `host path [offered]` to `route id, parameters, subprotocol`.
#[track_caller]
fn check(catalog: &Catalog, authority: &str, path: &str, offered: &[&str], expect: &str) {
    let offered: Vec<String> = offered.iter().map(ToString::to_string).collect();
    let answer = match catalog.lookup(authority, path) {
        Err(error) => format!("{error:?}"),
        Ok(found) => match found.choose(&offered) {
            Err(error) => format!("{error:?}"),
            Ok(choice) => {
                let params: Vec<String> = choice
                    .params
                    .iter()
                    .map(|(name, value)| format!(" {name}={value}"))
                    .collect();
                format!(
                    "{}{}{}",
                    choice.route.id,
                    params.concat(),
                    choice
                        .subprotocol
                        .map_or(String::new(), |s| format!(" [{s}]"))
                )
            }
        },
    };
    assert_eq!(answer, expect, "{authority} {path}");
}

/// Each route has its place in the list as its number.
fn numbered(mut routes: Vec<Route>) -> Result<Catalog, CatalogError> {
    for (id, route) in (0..).zip(&mut routes) {
        route.id = RouteId(id);
    }
    Catalog::new(routes)
}

#[test]
fn a_path_finds_its_route_and_parameters() {
    let catalog = numbered(vec![
        socket("/echo"),
        socket("/rooms/{room}"),
        socket("/files/{*tail}"),
        on_host("a.example", socket("/echo")),
        page("/"),
    ])
    .expect("the routes fit together");
    check(&catalog, "localhost:80", "/echo", &[], "0");
    check(&catalog, "localhost", "/echo/", &[], "NotFound");
    check(&catalog, "localhost", "/rooms/a%20b", &[], "1 room=a b");
    check(&catalog, "localhost", "/rooms/a%2Fb", &[], "1 room=a/b");
    check(&catalog, "localhost", "/rooms/%ff", &[], "Malformed");
    check(&catalog, "localhost", "/rooms/", &[], "NotFound");
    check(&catalog, "localhost", "/files/a/b", &[], "2 tail=a/b");
    check(&catalog, "localhost", "/files/", &[], "2 tail=");
    check(&catalog, "A.Example.:8080", "/echo", &[], "3");
    check(&catalog, "a.example", "/rooms/x", &[], "1 room=x");
    check(&catalog, "[::1]:8080", "/echo", &[], "0");
    check(&catalog, "localhost", "/", &[], "NoWebSocket");
}

#[test]
fn a_deployment_is_one_route_on_all_of_its_hosts() {
    let chat = Route {
        deployment: Some(Deployed {
            name: "chat".into(),
            host: None,
            path_prefix: "".into(),
        }),
        hosts: vec!["a.example".to_owned(), "b.example".to_owned()],
        ..socket("/{room}")
    };
    let catalog = numbered(vec![chat.clone(), socket("/x")]).expect("the routes fit together");
    for host in ["a.example", "b.example"] {
        check(&catalog, host, "/x", &[], "0 room=x");
    }
    check(&catalog, "c.example", "/x", &[], "1");
    let elsewhere = Route {
        hosts: Vec::new(),
        ..chat
    };
    assert_eq!(elsewhere.name(), "deployment chat");
}

#[test]
fn a_component_may_answer_everywhere_beside_a_page() {
    let catalog = numbered(vec![socket("/{*path}"), page("/")]).expect("the routes fit together");
    check(&catalog, "x", "/", &[], "0 path=");
    check(&catalog, "x", "/a/b", &[], "0 path=a/b");
    assert!(catalog.lookup("x", "/").expect("a route").page().is_some());
    assert!(catalog.lookup("x", "/a").expect("a route").page().is_none());
}

#[test]
fn subprotocols_choose_among_the_routes_of_a_path() {
    let catalog = numbered(vec![
        speaking("/", &["a", "b"]),
        speaking("/", &["c"]),
        speaking("/only", &["a"]),
        socket("/"),
    ])
    .expect("the routes fit together");
    check(&catalog, "x", "/", &["c", "a"], "1 [c]");
    check(&catalog, "x", "/", &["x", "b"], "0 [b]");
    check(&catalog, "x", "/", &["x"], "3");
    check(&catalog, "x", "/", &[], "3");
    check(&catalog, "x", "/only", &[], "Subprotocols([\"a\"])");
}

#[track_caller]
fn refused(routes: Vec<Route>, expect: &str) {
    let error = numbered(routes)
        .map(drop)
        .expect_err("the routes do not fit together");
    assert_eq!(format!("{}: {error}", error.route), expect);
}

#[test]
fn routes_that_cannot_stand_together_are_refused() {
    refused(
        vec![socket("/a"), socket("/a")],
        "1: there is a route on `/a` already; several routes share a path only if their `subprotocols` tell them apart",
    );
    refused(
        vec![page("/a"), page("/a")],
        "1: there is a page on `/a` already",
    );
    refused(
        vec![speaking("/a", &["x"]), speaking("/a", &["y", "x"])],
        "1: another route on `/a` has the subprotocol `x` too",
    );
    refused(vec![socket("a")], "0: a path begins with `/`; `a` does not");
    assert!(numbered(vec![socket("/a"), on_host("h", socket("/a")), page("/a")]).is_ok());
}

#[test]
fn two_names_for_one_place_are_refused() {
    let error = numbered(vec![socket("/rooms/{room}"), socket("/rooms/{id}")])
        .map(drop)
        .expect_err("the routes do not fit together");
    assert_eq!(error.route, 1);
    assert!(error.reason.contains("/rooms/{room}"), "{error}");
}

#[test]
fn a_deployment_moves_with_its_tenant() {
    let deployed = |host: Option<&str>| Route {
        deployment: Some(Deployed {
            name: "chat".into(),
            host: host.map(Into::into),
            path_prefix: "/acme".into(),
        }),
        ..socket("/acme/{room}")
    };
    let hosts = ["a.example".to_owned(), "b.example".to_owned()];
    for (host, place, expect) in [
        (None, (&hosts[..], "/x/y"), (&hosts[..], "/x/y/{room}")),
        (None, (&hosts[..], ""), (&hosts[..], "/{room}")),
        (None, (&[][..], "/acme/b"), (&[][..], "/acme/b/{room}")),
        (
            Some("b.example"),
            (&hosts[..], "/x"),
            (&hosts[1..], "/x/{room}"),
        ),
    ] {
        let mut route = deployed(host);
        route.move_to(place.0, place.1);
        assert_eq!((&route.hosts[..], &*route.pattern), expect);
        // And back.
        route.move_to(&[], "/acme");
        assert_eq!(route.pattern, "/acme/{room}");
    }
    let mut own = socket("/acme/{room}");
    own.move_to(&hosts, "/x");
    assert_eq!(own.pattern, "/acme/{room}", "an operator's route does not");
}
