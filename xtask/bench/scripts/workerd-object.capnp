# One Durable Object that may hibernate, for the peer "workerd-object".
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .echo)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const echo :Workerd.Worker = (
  modules = [(name = "main", esModule = embed "workerd-object.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "Echo", uniqueKey = "echo", enableSql = false)],
  durableObjectStorage = (inMemory = void),
  bindings = [(name = "ECHO", durableObjectNamespace = "Echo")],
);
