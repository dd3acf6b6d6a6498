//! Random deeds of ten tenants against a simple model: who is where, who gets what, and that no
//! tenant ever sees anything of another's, though all use the same names.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const TENANTS: usize = 10;
const WORKERS: usize = 3;
const TOPICS: usize = 3;

/// One deed. Sessions are counted in the order of their opening, modulo how many there are.
#[derive(Clone, Debug)]
enum Deed {
    Open {
        tenant: usize,
        worker: usize,
    },
    Join {
        session: usize,
        topic: usize,
        info: u8,
    },
    Part {
        session: usize,
        topic: usize,
    },
    End {
        session: usize,
    },
    Publish {
        tenant: usize,
        worker: usize,
        topic: usize,
        except: Option<usize>,
    },
    Look {
        tenant: usize,
        worker: usize,
        topic: usize,
    },
}

/// One session: whose it is, and what it is a member of.
#[derive(Clone, Debug)]
struct Modelled {
    tenant: usize,
    is_open: bool,
    topics: BTreeMap<usize, String>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    sessions: Vec<Modelled>,
    /// What the last deed brings to which session.
    brought: BTreeMap<usize, String>,
    published: usize,
}

impl Model {
    fn index(&self, session: usize) -> Option<usize> {
        (!self.sessions.is_empty()).then(|| session % self.sessions.len())
    }

    fn members(&self, tenant: usize, topic: usize) -> Vec<(usize, String)> {
        let all = self.sessions.iter().enumerate();
        let of_tenant = all.filter(|(_, session)| session.tenant == tenant);
        of_tenant
            .filter_map(|(index, session)| Some((index, session.topics.get(&topic)?.clone())))
            .collect()
    }

    fn text(&self, tenant: usize) -> String {
        format!("{} of tenant {tenant}", self.published)
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    let (tenant, worker, topic) = (0..TENANTS, 0..WORKERS, 0..TOPICS);
    let session = any::<u16>().prop_map(usize::from);
    let place = (tenant.clone(), worker.clone(), topic.clone());
    prop_oneof![
        2 => (tenant, worker).prop_map(|(tenant, worker)| Deed::Open { tenant, worker }),
        6 => (session.clone(), topic.clone(), any::<u8>())
            .prop_map(|(session, topic, info)| Deed::Join { session, topic, info }),
        2 => (session.clone(), topic).prop_map(|(session, topic)| Deed::Part { session, topic }),
        1 => session.clone().prop_map(|session| Deed::End { session }),
        6 => (place.clone(), proptest::option::of(session)).prop_map(
            |((tenant, worker, topic), except)| Deed::Publish { tenant, worker, topic, except }
        ),
        3 => place.prop_map(|(tenant, worker, topic)| Deed::Look { tenant, worker, topic }),
    ]
}

impl Model {
    fn apply(&mut self, deed: &Deed) {
        let model = self;
        model.brought.clear();
        match *deed {
            Deed::Open { tenant, .. } => model.sessions.push(Modelled {
                tenant,
                is_open: true,
                topics: BTreeMap::new(),
            }),
            Deed::Join {
                session,
                topic,
                info,
            } => {
                if let Some(index) = model
                    .index(session)
                    .filter(|index| model.sessions[*index].is_open)
                {
                    model.sessions[index].topics.insert(topic, info.to_string());
                }
            }
            Deed::Part { session, topic } => {
                if let Some(index) = model.index(session) {
                    model.sessions[index].topics.remove(&topic);
                }
            }
            Deed::End { session } => {
                if let Some(index) = model.index(session) {
                    model.sessions[index].is_open = false;
                    model.sessions[index].topics.clear();
                }
            }
            Deed::Publish {
                tenant,
                topic,
                except,
                ..
            } => {
                model.published += 1;
                let except = except.and_then(|except| model.index(except));
                let text = model.text(tenant);
                let members = model
                    .members(tenant, topic)
                    .into_iter()
                    .map(|(index, _)| index);
                model.brought = members
                    .filter(|index| Some(*index) != except)
                    .map(|index| (index, text.clone()))
                    .collect();
            }
            Deed::Look { .. } => {}
        }
    }
}

/// The topics themselves, and their clients in the order of opening.
struct Real {
    bench: Bench,
    clients: Vec<(usize, Client)>,
}

impl Real {
    fn topics(&self, index: usize) -> (&Topics, Arc<str>) {
        let (tenant, client) = &self.clients[index];
        (self.bench.at(client), named(*tenant))
    }
}

fn named(tenant: usize) -> Arc<str> {
    format!("tenant{tenant}").into()
}

impl Real {
    fn new() -> Self {
        Self {
            bench: Bench::new(WORKERS),
            clients: Vec::new(),
        }
    }

    /// Does a deed that the model has done already.
    fn apply(&mut self, model: &Model, deed: &Deed) {
        let real = self;
        let name = |topic: usize| format!("t{topic}");
        match *deed {
            Deed::Open { tenant, worker } => {
                let kind = Kind {
                    socket_bytes: 1 << 12,
                    ..on(worker)
                };
                real.clients.push((tenant, real.bench.client(kind)));
            }
            Deed::Join {
                session,
                topic,
                info,
            } => {
                if let Some(index) = model.index(session) {
                    let (topics, tenant) = real.topics(index);
                    let client = &real.clients[index].1;
                    let joined =
                        topics.subscribe(&tenant, &client.outbox, &name(topic), &info.to_string());
                    assert_eq!(joined.is_ok(), model.sessions[index].is_open);
                }
            }
            Deed::Part { session, topic } => {
                if let Some(index) = model.index(session) {
                    let (topics, tenant) = real.topics(index);
                    topics.unsubscribe(&tenant, real.clients[index].1.outbox.id(), &name(topic));
                }
            }
            Deed::End { session } => {
                if let Some(index) = model.index(session) {
                    let client = &mut real.clients[index].1;
                    client.outbox.close(1000, "");
                    client.received();
                    real.topics(index)
                        .0
                        .leave(real.clients[index].1.outbox.id());
                }
            }
            Deed::Publish {
                tenant,
                worker,
                topic,
                except,
            } => {
                let except = except.and_then(|except| model.index(except));
                let except = except.map(|index| real.clients[index].1.outbox.id());
                let text = model.text(tenant);
                let message = (MessageKind::Text, text.as_bytes());
                let topics = &real.bench.workers[worker];
                let published = topics.publish(&named(tenant), &name(topic), message, except);
                assert_eq!(published, Ok(model.brought.len() as u64));
            }
            Deed::Look {
                tenant,
                worker,
                topic,
            } => real.look(model, &real.bench.workers[worker], tenant, topic),
        }
        real.bench.settle();
    }

    /// Who is there, as one worker knows it.
    fn look(&self, model: &Model, topics: &Topics, tenant: usize, topic: usize) {
        let name = format!("t{topic}");
        let found = topics.presence(&named(tenant), &name);
        let found = found.expect("few members").into_iter();
        let mut found: Vec<_> = found
            .map(|(session, info)| (session, info.to_string()))
            .collect();
        let members = model.members(tenant, topic).into_iter();
        let mut expect: Vec<_> = members
            .map(|(index, info)| (self.clients[index].1.outbox.id(), info))
            .collect();
        found.sort_unstable();
        expect.sort_unstable();
        assert_eq!(found, expect);
        let count = topics.count(&named(tenant), &name);
        assert_eq!(count, expect.len() as u64);
    }

    /// Everybody has got what the last deed brings, and nothing else.
    fn receive(&mut self, model: &Model) {
        for (index, (_, client)) in self.clients.iter_mut().enumerate() {
            let got = client.received();
            if model.sessions[index].is_open {
                let expect: Vec<_> = model.brought.get(&index).into_iter().cloned().collect();
                assert_eq!(got, expect, "session {index}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn topics_are_as_simple_as_their_model(deeds in vec(deed(), 1..200)) {
        let (mut model, mut real) = (Model::default(), Real::new());
        for deed in &deeds {
            model.apply(deed);
            real.apply(&model, deed);
            real.receive(&model);
        }
    }
}
