//! Many small files and what is said about them.

use super::*;
use crate::storage::StoragePlace;

/// A folder with the files that the documents name.
fn folder() -> PathBuf {
    static FOLDER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let make = || {
        let folder = std::env::temp_dir().join(format!("wharf-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        for (name, content) in [
            ("a.wasm", ""),
            ("page.html", "<p>"),
            ("cert.pem", ""),
            ("key.pem", ""),
        ] {
            std::fs::write(folder.join(name), content).expect("a temporary file can be written");
        }
        folder
    };
    FOLDER.get_or_init(make).clone()
}

fn parse(text: &str) -> Result<Config, String> {
    let folder = folder();
    Config::parse(text, &folder.join("wharf.toml")).map_err(|error| {
        error
            .to_string()
            .replace(&format!("{}/", folder.display()), "")
    })
}

/// A document and the lines of its error; `wharf.toml:` is left out of each.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let error = parse(text).map(drop).expect_err("the document is wrong");
    let lines: Vec<&str> = error
        .lines()
        .map(|line| line.strip_prefix("wharf.toml:").unwrap_or(line))
        .collect();
    assert_eq!(lines, expect, "{text}");
}

/// As [`check`], for keys of a route that is fine otherwise; its lines begin at 4.
#[track_caller]
fn check_route(keys: &str, expect: &[&str]) {
    check(
        &format!("[[route]]\npath = \"/{{room}}\"\ncomponent = \"a.wasm\"\n{keys}"),
        expect,
    );
}

/// Something of everything.
const WHOLE: &str = r#"
listen = ["127.0.0.1:0", "[::1]:8080"]
workers = 2
[tls]
certificate = "cert.pem"
key = "key.pem"
[limits]
sessions_max = 10
head_bytes_max = "8KiB"
head_timeout = "250ms"
[engine]
instances_max = 7
[[route]]
path = "/rooms/{room}"
host = "A.Example"
component = "a.wasm"
instance = "{room}"
idle = "30s"
origins = ["https://a.example"]
subprotocols = ["chat.v1"]
[route.websocket]
ping_interval = "off"
timeout = "2s"
max_message_bytes = 16_777_216
compression = false
[route.guest]
cpu_per_call = "50ms"
[[route]]
path = "/any"
component = "a.wasm"
origins = "any"
instance = "shared"
grants.topics = ["lobby", "room/*"]
[[topic]]
tenant = "acme"
name = "room/*"
history_messages = 50
history_for = "5m"
announce = true
bytes_per_second_max = "1MiB"
[[page]]
path = "/"
file = "page.html"
"#;

#[test]
fn a_whole_file_is_read() {
    let config = parse(WHOLE).expect("the document is right");
    assert_eq!(config.listen, ["127.0.0.1:0", "[::1]:8080"]);
    assert_eq!(config.workers, Some(2));
    assert!(config.tls.is_some_and(|tls| tls.key.ends_with("key.pem")));
    assert_eq!(
        (config.limits.sessions_max, config.limits.head_bytes_max),
        (10, 8_192)
    );
    assert_eq!(config.limits.head_timeout.as_millis(), 250);
    assert_eq!(config.engine.instances_max, 7);
    let [room, any] = config.routes.as_slice() else {
        panic!("two routes: {:?}", config.routes)
    };
    assert_eq!(room.host.as_deref(), Some("a.example"));
    assert_eq!(
        room.origins,
        catalog::OriginRule::List(vec!["https://a.example".into()])
    );
    assert_eq!(room.subprotocols, ["chat.v1"]);
    assert_eq!(
        (room.idle, any.idle),
        (Some(std::time::Duration::from_secs(30)), None)
    );
    assert_eq!(
        (room.websocket.ping_interval, room.websocket.compression),
        (None, false)
    );
    assert_eq!(
        room.websocket.max_frame_bytes, 16_777_216,
        "a frame may hold a message"
    );
    assert_eq!(
        room.guest.hostcall_bytes_max, 33_554_432,
        "a handler may send what it gets"
    );
    assert_eq!(room.guest.cpu_per_call.as_millis(), 50);
    assert!(
        matches!(&room.instance, catalog::InstanceModel::Keyed(key) if key.to_string() == "{room}")
    );
    assert_eq!(
        (&any.origins, &any.instance),
        (&catalog::OriginRule::Any, &catalog::InstanceModel::Shared)
    );
    assert_eq!(config.pages[0].1.content_type, "text/html; charset=utf-8");
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = parse("").expect("nothing is wrong with nothing");
    assert_eq!(
        (config.limits, config.workers),
        (IngressLimits::default(), None)
    );
    assert!(config.routes.is_empty() && config.warnings.is_empty());
}

#[test]
fn what_is_no_toml_names_its_line() {
    check(
        "workers = 1\nlisten = ",
        &["2: not TOML: string values must be quoted, expected literal string"],
    );
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    check(
        "worker = 1",
        &["1: the top of the file has no key worker: did you mean workers?"],
    );
    check(
        "[routes]",
        &["1: the top of the file has no key routes: did you mean route?"],
    );
    check(
        "\n[limits]\nsession_max = 1",
        &["3: [limits] has no key session_max: did you mean sessions_max?"],
    );
    check(
        "[engine]\ncolour = 1",
        &["2: [engine] has no key colour: known here are instances_max"],
    );
    check_route(
        "idle = 30",
        &[
            "4: [[route]] idle = 30: right is a duration with its unit, such as \"30s\" or \"500ms\", or \"off\"",
        ],
    );
    check_route(
        "subprotocol = \"a\"",
        &["4: [[route]] has no key subprotocol: did you mean subprotocols?"],
    );
    check_route(
        "[route.websocket]\npingInterval = \"1s\"",
        &["5: [route.websocket] has no key pingInterval: did you mean ping_interval?"],
    );
    check_route(
        "[route.guest]\nmemory = 1\ncpu_per_calls = \"1s\"",
        &[
            "5: [route.guest] has no key memory: known here are component_bytes_max, cpu_per_call, handles_max, hostcall_bytes_max, memory_bytes_max, table_elements_max, wall_per_call",
            "6: [route.guest] has no key cpu_per_calls: did you mean cpu_per_call?",
        ],
    );
}

#[test]
fn a_wrong_value_names_what_is_right() {
    check(
        "workers = 0",
        &["1: workers = 0: right is a number from 1 to 1024"],
    );
    check(
        "workers = \"two\"",
        &["1: workers = \"two\": right is a number from 1 to 1024"],
    );
    check(
        "workers = -1",
        &["1: workers = -1: right is a number from 1 to 1024"],
    );
    check(
        "listen = \"8080\"",
        &[
            "1: listen = \"8080\": right is an address with its port, such as \"127.0.0.1:8080\", or a list of them",
        ],
    );
    check(
        "[limits]\nheaders_max = 101",
        &["2: [limits] headers_max = 101: right is a number from 1 to 100"],
    );
    check(
        "[limits]\nhead_bytes_max = \"1MiB\"",
        &["2: [limits] head_bytes_max = \"1MiB\": right is from 256 to 256KiB"],
    );
    check(
        "[limits]\nhead_bytes_max = \"8KB\"",
        &[
            "2: [limits] head_bytes_max = \"8KB\": right is a number of bytes, such as 65536 or \"64KiB\"",
        ],
    );
    check(
        "limits = 1",
        &["1: limits = 1: right is a table, written [limits]"],
    );
    check(
        "route = 1",
        &["1: route = 1: right is a list of tables, each written [[route]]"],
    );
    check(
        "[route]\npath = \"/\"",
        &[
            "1: route = [route]: a single table stands in a manifest, for `wharf deploy`; right is [[route]], with the `component` that it serves",
        ],
    );
}

#[test]
fn a_wrong_setting_of_a_websocket_names_what_is_right() {
    check_route(
        "websocket.ping_interval = \"30\"",
        &[
            "4: [route.websocket] ping_interval = \"30\": right is a duration with its unit, such as \"30s\" or \"500ms\", or \"off\"",
        ],
    );
    check_route(
        "websocket.timeout = 15",
        &[
            "4: [route.websocket] timeout = 15: right is a duration with its unit, such as \"30s\" or \"500ms\"",
        ],
    );
    check_route(
        "websocket.timeout = \"0s\"",
        &["4: [route.websocket] timeout = \"0s\": right is from 1ms to 8760h"],
    );
    check_route(
        "websocket.compression = \"on\"",
        &["4: [route.websocket] compression = \"on\": right is true or false"],
    );
    check_route(
        "websocket.compression_window_bits = 8",
        &["4: [route.websocket] compression_window_bits = 8: right is a number from 9 to 15"],
    );
    check_route(
        "websocket.max_message_bytes = \"2GiB\"",
        &["4: [route.websocket] max_message_bytes = \"2GiB\": right is from 1 to 1GiB"],
    );
}

#[test]
fn a_route_has_a_path_and_a_component() {
    check(
        "[[route]]\n",
        &[
            "1: [[route]] path is missing: right is a path, such as \"/rooms/{room}\"",
            "1: [[route]] component is missing: right is the path of a component, such as \"chat.wasm\"",
        ],
    );
    check(
        "[[route]]\npath = \"/\"",
        &[
            "1: [[route]] component is missing: right is the path of a component, such as \"chat.wasm\"",
        ],
    );
    check(
        "[[route]]\npath = \"a\"\ncomponent = \"a.wasm\"",
        &["2: [[route]] path = \"a\": a path begins with `/`; `a` does not"],
    );
    check(
        "[[route]]\npath = \"/\"\ncomponent = \"b.wasm\"",
        &[
            "3: [[route]] component = \"b.wasm\": there is no file b.wasm: build the handler first, or name another file",
        ],
    );
}

#[test]
fn parts_of_a_route_have_to_fit() {
    check_route(
        "instance = \"{id}\"",
        &["4: [[route]] instance = \"{id}\": {id} is no parameter of the path, which has {room}"],
    );
    check_route(
        "instance = \"sesion\"",
        &[
            "4: [[route]] instance = \"sesion\": right is \"session\", \"shared\" or a template such as \"{room}\"",
        ],
    );
    check_route(
        "host = \"https://a.example\"",
        &[
            "4: [[route]] host = \"https://a.example\": right is a host without scheme, port or path, such as \"a.example\"",
        ],
    );
    check_route(
        "origins = [\"a.example\"]",
        &[
            "4: [[route]] origins = [\"a.example\"]: \"a.example\" is no origin: an origin is a scheme, a host and perhaps a port, such as \"https://a.example\", without a path",
        ],
    );
    check_route(
        "subprotocols = [\"a b\"]",
        &["4: [[route]] subprotocols = [\"a b\"]: \"a b\" is no name that a header can carry"],
    );
    check_route(
        "subprotocols = [\"a\", \"a\"]",
        &["4: [[route]] subprotocols = [\"a\", \"a\"]: \"a\" stands there twice"],
    );
    check_route(
        "guest.hostcall_bytes_max = \"1KiB\"",
        &[
            "4: [route.guest] hostcall_bytes_max = \"1KiB\": the handler could not send a message of max_message_bytes (1048576)",
        ],
    );
}

#[test]
fn topics_are_granted_and_ruled() {
    let config = parse(WHOLE).expect("nothing is wrong with it");
    let granted = config.routes[1].grants.topics.iter();
    let granted: Vec<String> = granted.map(ToString::to_string).collect();
    assert_eq!(granted, ["lobby", "room/*"]);
    let rule = &config.topics[0];
    assert_eq!(
        (rule.tenant.as_str(), rule.name.to_string().as_str()),
        ("acme", "room/*")
    );
    let expect = catalog::TopicSettings {
        history_messages: 50,
        history_for: std::time::Duration::from_secs(300),
        announce: true,
        bytes_per_second_max: Some(1 << 20),
        ..catalog::TopicSettings::default()
    };
    assert_eq!(rule.settings, expect);
    let route = |grant: &str| {
        let text = format!("[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\n{grant}");
        let config = parse(&text).expect("nothing is wrong with it");
        config.routes[0].grants.topics.len()
    };
    assert_eq!(route(""), 0, "nothing is granted by default");
    assert_eq!(route("grants.topics = false"), 0);
    assert_eq!(route("grants.topics = true"), 1);
}

#[test]
fn a_wrong_topic_names_what_is_right() {
    check(
        "[[topic]]\nnames = \"a\"",
        &[
            "1: [[topic]] name is missing: right is a topic or the beginning of some, such as \"room/*\"",
            "2: [[topic]] has no key names: did you mean name?",
        ],
    );
    check(
        "[[topic]]\nname = \"a*b\"",
        &["2: [[topic]] name = \"a*b\": a `*` stands at the end or nowhere, as in \"room/*\""],
    );
    check(
        "[[topic]]\nname = \"a\"\nhistory_for = \"5m\"",
        &["3: [[topic]] history_for = \"5m\": nothing is kept without history_messages"],
    );
    check_route(
        "grants.topics = 1",
        &[
            "4: [route.grants] topics = 1: right is true, or a list of topics such as [\"lobby\", \"room/*\"]",
        ],
    );
    check_route(
        "grants.topics = [\"\"]",
        &[
            "4: [route.grants] topics = [\"\"]: \"\": a topic has a name, such as \"lobby\" or \"room/*\"",
        ],
    );
}

#[test]
fn a_storage_has_a_place_and_limits() {
    let config = parse("[storage]\npath = \"a.redb\"\ntenant_bytes_max = \"1MiB\"").expect("right");
    let storage = config.storage.expect("there is one");
    assert_eq!(storage.tenant_bytes_max, 1 << 20);
    assert!(matches!(storage.place, StoragePlace::File(file) if file == folder().join("a.redb")));
    let config = parse("[storage]\npath = \"memory\"").expect("right");
    assert_eq!(
        config.storage,
        Some(StorageSettings::new(StoragePlace::Memory))
    );
    check(
        "[storage]\ntenant_keys_max = -1",
        &[
            "1: [storage] path is missing: right is the path of a file, such as \"wharf.redb\", or \"memory\"",
            "2: [storage] tenant_keys_max = -1: right is a number from 0 to 1000000000",
        ],
    );
}

#[test]
fn what_is_stored_needs_a_storage() {
    check_route(
        "grants.keyvalue = [\"default\"]",
        &[
            "4: [route.grants] keyvalue = [\"default\"]: the server has no storage: add `[storage]` with `path = \"wharf.redb\"`, or `path = \"memory\"` for what may be lost at its end",
        ],
    );
    check_route(
        "instance = \"{room}\"\ngrants.timers = true",
        &[
            "5: [route.grants] timers = true: the server has no storage: add `[storage]` with `path = \"wharf.redb\"`, or `path = \"memory\"` for what may be lost at its end",
        ],
    );
    let own = "[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\ngrants.timers = true";
    assert!(parse(own).is_ok(), "timers of a session end with it");
    let names = "right is a list of bucket names, such as [\"default\"], each of up to 64 letters, digits, `-`, `_` and `.`";
    for wrong in ["[\"a/b\"]", "[\"\"]", "7"] {
        check_route(
            &format!("grants.keyvalue = {wrong}"),
            &[&format!("4: [route.grants] keyvalue = {wrong}: {names}")],
        );
    }
    let text = "[storage]\npath = \"memory\"\n[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\ngrants.keyvalue = [\"a\", \"b\"]";
    let config = parse(text).expect("it is allowed");
    assert_eq!(config.routes[0].grants.keyvalue, ["a", "b"]);
}

#[test]
fn a_log_has_limits() {
    let config = parse("[log]\ntenant_lines_per_second_max = 5").expect("right");
    assert_eq!(config.log.tenant_lines_per_second_max, 5);
    assert_eq!(config.log.tenant_bytes_per_second_max, 1 << 20);
    check(
        "[log]\ntenant_bytes_per_second_max = 7",
        &["2: [log] tenant_bytes_per_second_max = 7: right is from 16KiB to 1GiB"],
    );
}

#[test]
fn settings_are_texts_and_secrets_come_from_elsewhere() {
    std::fs::write(folder().join("token"), "from a file\r\n").expect("it can be written");
    let keys = "[route.config]\nname = \"x\"\nrounds = 0x10\nshare = 0.5\nloud = true\n\
        [route.secrets]\ntoken = { file = \"token\" }\npath = { env = \"PATH\" }";
    let text = format!("[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\n{keys}");
    let config = parse(&text).expect("it is right");
    let settings = config.routes[0].settings.as_ref().expect("there are some");
    let open: Vec<_> = settings.open().collect();
    let expected = [
        ("loud", "true"),
        ("name", "x"),
        ("rounds", "16"),
        ("share", "0.5"),
    ];
    assert_eq!(open, expected);
    assert_eq!(settings.get("token"), Some("from a file"));
    assert_eq!(settings.get("path"), std::env::var("PATH").ok().as_deref());
    assert!(!format!("{config:?}").contains("from a file"));
    let none = parse("[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"").expect("right");
    assert_eq!(none.routes[0].settings, None);
}

#[test]
fn a_wrong_secret_is_not_repeated() {
    let right = "right is { file = \"token.txt\" } or { env = \"TOKEN\" }: a secret does not stand in this file";
    check_route(
        "secrets.token = \"hunter2\"",
        &[&format!("4: [route.secrets] token: {right}")],
    );
    check_route(
        "secrets.token = { file = \"a.wasm\", env = \"PATH\" }",
        &[&format!("4: [route.secrets] token: {right}")],
    );
    check_route(
        "secrets.token = { env = \"NO_SUCH_VARIABLE_HERE\" }",
        &["4: [route.secrets] token: there is no environment variable NO_SUCH_VARIABLE_HERE"],
    );
    check_route(
        "secrets.token = { file = \"no-such-file\" }",
        &[
            "4: [route.secrets] token: the file no-such-file cannot be read: No such file or directory (os error 2)",
        ],
    );
    check_route(
        "config.a = [1]\nconfig.b = \"x\"\nsecrets.b = { env = \"PATH\" }",
        &[
            "4: [route.config] a: right is a text, a number, true or false",
            "6: [route.secrets] b: it is in [route.config], too: choose one",
        ],
    );
    check_route(
        "grants.clocks = \"fine\"",
        &[
            "4: [route.grants] clocks = \"fine\": right is \"coarse\", for whole milliseconds, or \"precise\"",
        ],
    );
}

#[test]
fn routes_that_cannot_stand_together_are_refused() {
    let route = |path: &str| format!("[[route]]\npath = \"{path}\"\ncomponent = \"a.wasm\"\n");
    check(
        &(route("/a") + &route("/a")),
        &[
            "5: [[route]] path = \"/a\": there is a route on `/a` already; several routes share a path only if their `subprotocols` tell them apart",
        ],
    );
    let page = "[[page]]\npath = \"/\"\nfile = \"page.html\"\n";
    check(
        &(route("/a") + page + page),
        &["8: [[page]] path = \"/\": there is a page on `/` already"],
    );
    assert!(
        parse(&(route("/") + page)).is_ok(),
        "a page and a WebSocket share a path"
    );
}

#[test]
fn a_page_is_a_file_on_one_path() {
    check(
        "[[page]]\npath = \"/\"",
        &["1: [[page]] file is missing: right is the path of a file, such as \"page.html\""],
    );
    check(
        "[[page]]\npath = \"/{a}\"\nfile = \"page.html\"",
        &["2: [[page]] path = \"/{a}\": a page has one path, without parameters"],
    );
    check(
        "[[page]]\npath = \"/\"\nfile = \"b\"",
        &["3: [[page]] file = \"b\": b cannot be read: No such file or directory (os error 2)"],
    );
}

#[test]
fn tls_needs_both_files() {
    check(
        "[tls]\ncertificate = \"cert.pem\"",
        &["1: [tls] key is missing: right is the path of a PEM file"],
    );
    check(
        "[tls]\ncertificate = \"c\"\nkey = \"key.pem\"",
        &["2: [tls] certificate = \"c\": there is no file c"],
    );
}

#[test]
fn all_problems_are_told_at_once() {
    check(
        "workers = 0\nlisten = 1\n[limits]\nx = 1",
        &[
            "1: workers = 0: right is a number from 1 to 1024",
            "2: listen = 1: right is an address with its port, such as \"127.0.0.1:8080\", or a list of them",
            "4: [limits] has no key x: known here are connections_max, handshakes_concurrent_max, head_bytes_max, head_timeout, headers_max, keep_alive_timeout, response_timeout, sessions_max, target_bytes_max, tls_handshake_timeout, tls_handshakes_concurrent_max",
        ],
    );
}

#[test]
fn masking_warns() {
    let text = "[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\nwebsocket.mask_outgoing = true";
    let config = parse(text).expect("it is allowed");
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].starts_with("the route /a masks what it sends (mask_outgoing)"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/wharf.toml"))
        .map(drop)
        .expect_err("no file");
    assert_eq!(
        error.to_string(),
        "/nowhere/wharf.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_route_is_raw_only_if_it_says_so() {
    let is_raw = |keys: &str| {
        let text = format!("[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\n{keys}");
        let config = parse(&text).expect("it is allowed");
        config.routes[0].websocket.raw
    };
    assert!(!is_raw(""));
    assert!(is_raw("websocket.raw = true"));
    check_route(
        "websocket.raw = 1",
        &["4: [route.websocket] raw = 1: right is true or false"],
    );
}

#[test]
fn outgoing_connections_have_limits() {
    let text = "[outbound]\ntenant_connections_max = 7\ntenant_websockets_max = 8\n\
        instance_websockets_max = 9\nconnect_timeout = \"1s\"\n\
        first_byte_timeout = \"2s\"\ntotal_timeout = \"3s\"\nrequest_bytes_max = \"64KiB\"\n\
        response_bytes_max = \"2MiB\"\nroots = \"cert.pem\"";
    let outbound = parse(text).expect("it is right").outbound;
    let seconds = std::time::Duration::from_secs;
    let expect = OutboundSettings {
        tenant_connections_max: 7,
        tenant_websockets_max: 8,
        instance_websockets_max: 9,
        connect_timeout: seconds(1),
        first_byte_timeout: seconds(2),
        total_timeout: seconds(3),
        request_bytes_max: 64 << 10,
        response_bytes_max: 2 << 20,
        roots: Some(folder().join("cert.pem")),
    };
    assert_eq!(outbound, expect);
    let nothing = parse("").expect("it is right").outbound;
    assert_eq!(nothing, OutboundSettings::default());
    check(
        "[outbound]\ntenant_connections_max = -1\nconnect_timeout = 5\n\
         response_bytes_max = \"2TiB\"\nroots = \"no.pem\"\ntotal_time = \"8s\"",
        &[
            "2: [outbound] tenant_connections_max = -1: right is a number from 0 to 100000",
            "3: [outbound] connect_timeout = 5: right is a duration with its unit, such as \"30s\" or \"500ms\"",
            "4: [outbound] response_bytes_max = \"2TiB\": right is a number of bytes, such as 65536 or \"64KiB\"",
            "5: [outbound] roots = \"no.pem\": there is no file no.pem",
            "6: [outbound] has no key total_time: did you mean total_timeout?",
        ],
    );
}

#[test]
fn http_is_granted_by_host_and_port() {
    let granted = |grants: &str| {
        let text =
            format!("[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\n[route.grants]\n{grants}");
        let config = parse(&text).expect("it is right");
        config.routes[0].grants.clone()
    };
    let hosts = granted(
        "http = [\"api.example\", \"*.example:8443\", \"[::1]:80\"]\nprivate_addresses = true",
    );
    assert!(hosts.private_addresses);
    for (host, port, is_covered) in [
        ("api.example", 443, true),
        ("api.example", 80, false),
        ("a.b.example", 8443, true),
        ("example", 8443, false),
        ("::1", 80, true),
    ] {
        let covered = hosts.http.iter().any(|entry| entry.covers(host, port));
        assert_eq!(covered, is_covered, "{host}:{port}");
    }
    assert!(granted("").http.is_empty() && !granted("").private_addresses);
}

#[test]
fn a_route_says_what_happens_after_a_trap() {
    let route = |keys: &str| {
        let text = format!("[[route]]\npath = \"/a\"\ncomponent = \"a.wasm\"\n{keys}");
        parse(&text).expect("it is right").routes.remove(0)
    };
    let plain = route("");
    assert_eq!(plain.after_trap, catalog::AfterTrap::Close);
    assert!(plain.dead_letters);
    assert_eq!(route("after_trap = \"close\"").after_trap, plain.after_trap);
    let restart = route("after_trap = \"restart\"\ndead_letters = false");
    assert_eq!(restart.after_trap, catalog::AfterTrap::RESTART);
    assert!(!restart.dead_letters);
    let keys = "after_trap = \"restart\"\ntraps_max = 7\ntraps_within = \"10s\"";
    let expect = catalog::AfterTrap::Restart {
        traps_max: 7,
        traps_within: std::time::Duration::from_secs(10),
    };
    assert_eq!(route(keys).after_trap, expect);
    let only = "only `after_trap = \"restart\"` has it";
    check_route(
        "traps_max = 5\ntraps_within = \"1m\"",
        &[
            &format!("4: [[route]] traps_max = 5: {only}"),
            &format!("5: [[route]] traps_within = \"1m\": {only}"),
        ],
    );
    check_route(
        "after_trap = \"reopen\"",
        &["4: [[route]] after_trap = \"reopen\": right is \"close\" or \"restart\""],
    );
    check_route(
        "after_trap = \"restart\"\ntraps_max = 0",
        &["5: [[route]] traps_max = 0: right is a number from 1 to 100"],
    );
}

#[test]
fn traces_need_a_collector() {
    let text = "[traces]\nendpoint = \"http://127.0.0.1:4318\"\nsample_one_in = 10\n\
        [traces.headers]\nauthorization = { file = \"page.html\" }";
    let traces = parse(text).expect("it is right").traces;
    let traces = traces.expect("they are on");
    assert_eq!(traces.sample_one_in, 10);
    assert!(!traces.accept_traceparent);
    assert_eq!(traces.headers[0].0, "authorization");
    assert!(!format!("{traces:?}").contains("<p>"), "{traces:?}");
    assert_eq!(parse("").expect("it is right").traces, None);
    check(
        "[traces]\nsample_one_in = 10",
        &[
            "1: [traces] endpoint is missing: right is the address of a collector, such as \"http://127.0.0.1:4318\"",
        ],
    );
    check(
        "[traces]\nendpoint = \"http://a:4318\"\nsample_one_in = 0\nsample_one_on = 1\n\
         [traces.headers]\nhost = { file = \"page.html\" }",
        &[
            "3: [traces] sample_one_in = 0: right is a number from 1 to 1000000000",
            "4: [traces] has no key sample_one_on: did you mean sample_one_in?",
            "6: [traces.headers] host: it is no header that a request may have",
        ],
    );
}

#[test]
fn a_servers_file_is_no_manifest() {
    let text = "[[route]]\npath = \"/\"\ncomponent = \"a.wasm\"";
    let error = Manifest::parse(text, Path::new("wharf.toml")).expect_err("it is a server's");
    let expect = "wharf.toml:1: route = [[route]]: a list of tables stands in a server's configuration, for \
                  `wharf serve`; right is one [route], without a `component`";
    assert_eq!(error.to_string(), expect);
}
