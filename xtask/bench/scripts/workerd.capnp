# A worker without state, for the peer "workerd".
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .echo)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const echo :Workerd.Worker = (
  modules = [(name = "main", esModule = embed "workerd.js")],
  compatibilityDate = "2026-11-01",
);
