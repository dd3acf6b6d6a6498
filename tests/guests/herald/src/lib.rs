//! A handler of topics that does what its client says. Each text is a command:
//!
//! | command | answer |
//! | --- | --- |
//! | `sub TOPIC INFO`, `unsub TOPIC` | `ok` or an error |
//! | `pub TOPIC TEXT` | to how many it is on its way, or an error |
//! | `pub-but TOPIC TEXT` | the same, without this session |
//! | `pub-but-id ID TOPIC TEXT` | the same, without that session |
//! | `shout TOPIC TEXT` | none |
//! | `many TOPIC COUNT SIZE` | publishes that many texts; `COUNT ERROR` of those that went |
//! | `who TOPIC` | `NAME=INFO` for each, with spaces between |
//! | `count TOPIC` | a number |
//! | `name`, `id` | this session's |
//! | `sub-id ID TOPIC` | subscribes a session by its number |
//! | `sub-many COUNT` | subscribes to `many/1`, `many/2`, …; `COUNT ERROR` |
//! | `close CODE` | none |
//! | `trap` | none: the handler panics |
//! | `flood TOPIC`, `flood-sub`, `churn TOPIC` | none: publishes, subscribes, or joins and leaves without end |
//!
//! An error is `denied`, `closed` or `limit N`. Bytes are published in the
//! topic `bytes`. With `?join=TOPIC` in the query a session subscribes when it
//! opens, with `as` as info; with `?watch=TOPIC` its `on-close` publishes
//! there how many members each joined topic has.

use wharf_guest::{Ending, Handler, Message, Session, Topic, TopicError};

#[derive(Default)]
struct Herald {
    watched: Vec<(Session, String, Vec<String>)>,
}

impl Handler for Herald {
    fn on_open(&mut self, session: Session) {
        let query = session
            .request()
            .and_then(|request| request.query)
            .unwrap_or_default();
        let of = |key: &str| -> Vec<String> {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(name, _)| *name == key)
                .map(|(_, value)| value.to_owned())
                .collect()
        };
        let info = of("as").pop().unwrap_or_default();
        let joined = of("join");
        for topic in &joined {
            if let Err(error) = session.subscribe(topic, &info) {
                let _ = session.send(&said(Err(error)));
            }
        }
        for topic in of("watch") {
            self.watched.push((session, topic, joined.clone()));
        }
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        match message {
            Message::Text(command) => {
                if let Some(answer) = run(session, command) {
                    let _ = session.send(&answer);
                }
            }
            Message::Binary(bytes) => {
                let _ = Topic::new("bytes").publish(bytes);
            }
        }
    }

    fn on_close(&mut self, session: Session, _ending: Ending) {
        for (closed, watch, joined) in &self.watched {
            if *closed == session {
                let counts: Vec<String> = joined
                    .iter()
                    .map(|topic| format!("{:?}", Topic::new(topic).count()))
                    .collect();
                let _ = Topic::new(watch).publish(&format!("closed {}", counts.join(" ")));
            }
        }
        self.watched.retain(|(closed, ..)| *closed != session);
    }
}

fn run(session: Session, command: &str) -> Option<String> {
    let (verb, rest) = cut(command);
    let (first, second) = cut(rest);
    let topic = Topic::new(first);
    Some(match verb {
        "sub" => done(session.subscribe(topic, second)),
        "sub-id" => done(Session::from_id(number(first)).subscribe(second, "")),
        "sub-many" => until_refused(number(first), |index| {
            session.subscribe(&format!("many/{index}"), "")
        }),
        "unsub" => {
            session.unsubscribe(topic);
            "ok".to_owned()
        }
        "pub" => said(topic.publish(second)),
        "pub-but" => said(topic.publish_but(session, second)),
        "pub-but-id" => {
            let (topic, text) = cut(second);
            said(Topic::new(topic).publish_but(Session::from_id(number(first)), text))
        }
        "shout" => {
            let _ = topic.publish(second);
            return None;
        }
        "many" => {
            let (count, size) = cut(second);
            let text = "x".repeat(number(size) as usize);
            until_refused(number(count), |index| {
                topic.publish(&format!("{index} {text}")).map(drop)
            })
        }
        "who" => match topic.members() {
            Ok(members) => {
                let members = members.iter();
                let words = members.map(|member| format!("{}={}", member.name, member.info));
                words.collect::<Vec<_>>().join(" ")
            }
            Err(error) => said(Err(error)),
        },
        "count" => said(topic.count()),
        "name" => session.name().unwrap_or_default(),
        "id" => session.id().to_string(),
        "close" => {
            session.close(number(first) as u16, "");
            return None;
        }
        "trap" => panic!("the client asked for it"),
        "flood" => loop {
            let _ = topic.publish(&"x".repeat(1024));
        },
        "flood-sub" => {
            for index in 0_u64.. {
                let _ = session.subscribe(&format!("many/{index}"), &"i".repeat(1024));
            }
            return None;
        }
        "churn" => loop {
            let _ = session.subscribe(topic, "again");
            session.unsubscribe(topic);
        },
        _ => format!("unknown command {verb}"),
    })
}

fn until_refused(count: u64, act: impl Fn(u64) -> Result<(), TopicError>) -> String {
    for index in 0..count {
        if let Err(error) = act(index) {
            return format!("{index} {}", said(Err(error)));
        }
    }
    format!("{count} ok")
}

fn done(outcome: Result<(), TopicError>) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(error) => said(Err(error)),
    }
}

fn said(outcome: Result<u64, TopicError>) -> String {
    match outcome {
        Ok(number) => number.to_string(),
        Err(TopicError::Denied) => "denied".to_owned(),
        Err(TopicError::Closed) => "closed".to_owned(),
        Err(TopicError::Limit(limit)) => format!("limit {limit}"),
    }
}

fn cut(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

wharf_guest::export!(Herald);
