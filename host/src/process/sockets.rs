//! The sockets that the server listens on: inherited from a service manager (`LISTEN_FDS`) or from
//! the process whose successor this one is, and opened for what is left. All before the process
//! gives up the right to.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use wharf::{Builder, Config, Server};

use super::launcher::SUCCESSOR;
use super::link::{Upwards, Word};

/// How long the old process may take to say which socket is which: it says so at once.
const HELLO: Duration = Duration::from_secs(10);
/// The name of the socket for operators, here and as `FileDescriptorName=` of a unit.
const ADMIN: &str = "admin";

/// Before the address of a socket of a service manager, when it is handed on: it is listened on
/// whatever the configuration says.
const OF_MANAGER: &str = "manager ";

/// What was handed over.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<(Name, TcpListener)>,
    /// The process whose successor this one is.
    pub(crate) predecessor: Option<Upwards>,
}

/// What a socket is for.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// What the configuration calls it.
    Address(String),
    /// What a service manager calls it.
    Label(String),
}

impl Inherited {
    /// Takes what is there. To be called first of all: it changes the environment.
    pub(crate) fn take() -> Result<Self> {
        let mut from = ListenFd::from_env();
        if std::env::var_os(SUCCESSOR).is_some() {
            return Self::of_predecessor(&mut from);
        }
        let labels = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut labels = labels.split(':');
        let mut sockets = Vec::new();
        for place in 0..from.len() {
            let label = labels.next().unwrap_or_default().to_owned();
            let socket = from.take_tcp_listener(place);
            let socket = socket.with_context(|| {
                format!("the socket {label:?} of the service manager; right would be ListenStream= with an address and a port")
            })?;
            sockets.extend(socket.map(|socket| (Name::Label(label), socket)));
        }
        Ok(Self {
            sockets,
            predecessor: None,
        })
    }

    fn of_predecessor(from: &mut ListenFd) -> Result<Self> {
        const LINK: &str = "socket to the process before";
        let Some(last) = from.len().checked_sub(1) else {
            bail!("{SUCCESSOR} is set, and no process before has handed anything over; unset it");
        };
        let link = from.take_custom::<UnixStream>(last, libc::AF_UNIX, libc::SOCK_STREAM, LINK);
        let mut predecessor = Upwards::new(link?.context(LINK)?)?;
        let Some(Word::Sockets(addresses)) = predecessor.hear(Some(HELLO)) else {
            bail!("the process before does not say which sockets it has handed over");
        };
        let mut sockets = Vec::new();
        for (place, name) in addresses.into_iter().enumerate().take(last) {
            let socket = from.take_tcp_listener(place)?;
            let name = match name.strip_prefix(OF_MANAGER) {
                Some(_) => Name::Label(String::new()),
                None => Name::Address(name),
            };
            sockets.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Self {
            sockets,
            predecessor: Some(predecessor),
        })
    }

    /// Whether there is something to listen on, wherever the configuration says.
    pub(crate) fn listens(&self) -> bool {
        let admin = Name::Label(ADMIN.to_owned());
        let mut names = self.sockets.iter().map(|(name, _)| name);
        names.any(|name| matches!(name, Name::Label(_)) && *name != admin)
    }

    /// The socket for an address of the configuration, if it was handed over.
    fn take_one(&mut self, address: &str) -> Option<(Name, TcpListener)> {
        let resolved: Vec<SocketAddr> = address.to_socket_addrs().into_iter().flatten().collect();
        let place = self.sockets.iter().position(|(name, socket)| match name {
            Name::Address(named) => named == address,
            Name::Label(label) if label == ADMIN => false,
            Name::Label(_) => {
                let bound = socket.local_addr();
                bound.is_ok_and(|bound| resolved.contains(&bound))
            }
        })?;
        // In order: port 0 may be there several times.
        Some(self.sockets.remove(place))
    }

    /// The socket for operators, if it was handed over.
    fn take_admin(&mut self) -> Option<TcpListener> {
        let names = [
            Name::Address(ADMIN.to_owned()),
            Name::Label(ADMIN.to_owned()),
        ];
        let mut sockets = self.sockets.iter();
        let place = sockets.position(|(name, _)| names.contains(name))?;
        Some(self.sockets.remove(place).1)
    }
}

/// All sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets(Vec<Open>);

#[derive(Clone, Debug)]
struct Open {
    /// By which the configuration names it, or [`ADMIN`].
    address: String,
    is_of_manager: bool,
    socket: Arc<TcpListener>,
}

impl Open {
    fn new(address: impl Into<String>, is_of_manager: bool, socket: TcpListener) -> Self {
        Self {
            address: address.into(),
            is_of_manager,
            socket: Arc::new(socket),
        }
    }
}

impl Sockets {
    /// Opens what was not handed over. What a service manager has handed over beside what the
    /// configuration names is listened on, too.
    pub(crate) fn open(config: &mut Config, inherited: &mut Inherited) -> Result<Self> {
        let mut sockets = Vec::new();
        for address in &config.listen {
            sockets.push(match inherited.take_one(address) {
                Some((name, socket)) => Open::new(address, matches!(name, Name::Label(_)), socket),
                None => Open::new(address, false, Server::bind(address)?),
            });
        }
        if let Some(admin) = &config.admin {
            let socket = match inherited.take_admin() {
                Some(socket) => socket,
                None => Server::bind(&admin.listen)?,
            };
            sockets.push(Open::new(ADMIN, false, socket));
        }
        for (name, socket) in inherited.sockets.drain(..) {
            let address = socket.local_addr()?.to_string();
            match name {
                Name::Label(label) if label == ADMIN => bail!(
                    "a socket named {ADMIN} was handed over, and the configuration has no [admin]"
                ),
                Name::Label(_) => {
                    config.listen.push(address.clone());
                    sockets.push(Open::new(address, true, socket));
                }
                Name::Address(_) => tracing::info!(address, "no longer listened on"),
            }
        }
        Ok(Self(sockets))
    }

    /// A server that uses them.
    pub(crate) fn give_to(&self, builder: Builder) -> Builder {
        let mut builder = builder;
        for open in &self.0 {
            let socket = Arc::clone(&open.socket);
            builder = match open.address.as_str() {
                ADMIN => builder.admin_socket(socket),
                address => builder.socket(address, socket),
            };
        }
        builder
    }

    /// What each is for, in the order of [`Sockets::listeners`].
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |open: &Open| match open.is_of_manager {
            true => format!("{OF_MANAGER}{}", open.address),
            false => open.address.clone(),
        };
        self.0.iter().map(name).collect()
    }

    pub(crate) fn listeners(&self) -> Vec<&TcpListener> {
        self.0.iter().map(|open| &*open.socket).collect()
    }
}
