//! From a checked configuration to a description of a server.

use super::builder::Builder;
use super::route::Route;
use crate::config::{Config, RouteConfig};

impl Builder {
    /// Takes over everything that a configuration says; what it does not say stays as it is.
    #[must_use]
    pub fn configured(mut self, config: Config) -> Self {
        self = config.listen.into_iter().fold(self, Builder::listen);
        if let Some(workers) = config.workers {
            self = self.workers(workers);
        }
        if let Some(files) = config.tls {
            self = self.tls(files);
        }
        self = self.limits(|limits| *limits = config.limits);
        if let Some(settings) = config.storage {
            self = self.storage(settings);
        }
        self = self.engine(|engine| *engine = config.engine);
        self = config
            .routes
            .into_iter()
            .map(Route::from)
            .fold(self, Builder::route);
        self = config.topics.into_iter().fold(self, Builder::topic);
        if let Some(settings) = config.deployments {
            self = self.deployments(settings);
        }
        let tenants = config.tenants.into_iter();
        self = tenants.fold(self, |builder, (name, settings)| {
            builder.tenant(name, settings)
        });
        if let Some(settings) = config.admin {
            self = self.admin(settings);
        }
        self = self.dead_letters(|settings| *settings = config.dead_letters);
        if let Some(settings) = config.traces {
            self = self.traces(settings);
        }
        self = self.log(|limits| *limits = config.log);
        self = self.outbound(|settings| *settings = config.outbound);
        config
            .pages
            .into_iter()
            .fold(self, |builder, (path, page)| builder.page(path, page))
    }
}

impl From<RouteConfig> for Route {
    fn from(config: RouteConfig) -> Self {
        let route = Route::new(config.path)
            .component_file(config.component)
            .instance(config.instance)
            .idle(config.idle)
            .after_trap(config.after_trap)
            .dead_letters(config.dead_letters)
            .origins(config.origins)
            .subprotocols(config.subprotocols)
            .websocket(|settings| *settings = config.websocket)
            .guest(|limits| *limits = config.guest)
            .tenant(config.tenant)
            .grants(|grants| *grants = config.grants)
            .rollout(config.rollout)
            .canary(config.canary);
        let route = match config.settings {
            Some(settings) => route.settings(|own| *own = settings),
            None => route,
        };
        match config.host {
            Some(host) => route.host(host),
            None => route,
        }
    }
}
