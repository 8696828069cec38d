//! What a component may reach: each capability is a WIT package in `wit/deps`
//! and one module here, which holds its interface names, the grant it needs, how
//! it is linked, and what it keeps for a component and for a call.
//!
//! A component's imports are its request, the operator's grants in `host.toml`
//! the permission; [`missing_grant`] compares the two when a component is
//! loaded, so an ungranted import is never met at request time.
//!
//! To add a capability: a WIT package, a module, and its name in the list below.

pub mod bindings;

use crate::{
    config,
    services::{Services, tokens::PresentedToken},
};
use std::{
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};
use wasmtime::component::Linker;

/// Each module has:
///
/// - `INTERFACES`: what it offers, such as `shema:redis/commands@0.1.0`;
/// - `missing_grant(interface, grants)`: what `host.toml` lacks for one of them;
/// - `Grant`, made by `grant`: what one component holds of it, for all its
///   instances and versions;
/// - `State`: what one call keeps;
/// - `add_to_linker`, which gives its host functions a view of both.
macro_rules! capabilities {
    ($($(#[$attribute:meta])* $module:ident),+ $(,)?) => {
        $($(#[$attribute])* pub mod $module;)+

        /// What one component is granted, shared by all its instances and versions.
        pub struct Grants {
            /// Name of the component.
            pub component: String,
            $($(#[$attribute])* pub $module: $module::Grant,)+
        }

        impl Grants {
            pub async fn new(granting: &Granting<'_>) -> anyhow::Result<Grants> {
                Ok(Grants {
                    component: granting.component.to_owned(),
                    $($(#[$attribute])* $module: $module::grant(granting).await?,)+
                })
            }
        }

        /// One call: what the component is granted, and what the call has used of
        /// it so far.
        pub struct Call {
            grants: Arc<Grants>,
            context: Context,
            $($(#[$attribute])* $module: $module::State,)+
        }

        impl Call {
            pub fn new(grants: Arc<Grants>) -> Call {
                Call { grants, context: Context::default(), $($(#[$attribute])* $module: Default::default(),)+ }
            }

            pub fn begin(&mut self, context: Context) {
                self.context = context;
                $($(#[$attribute])* { self.$module = Default::default(); })+
            }

            /// Ends the call: what it left open is rolled back, behind the answer.
            pub fn end(&mut self) -> Usage {
                let mut usage = Usage::default();
                $($(#[$attribute])* {
                    std::mem::take(&mut self.$module).end(&self.grants.component, &self.context, &mut usage);
                })+
                usage
            }
        }

        /// Ties the interfaces of all capabilities to the host's functions.
        pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
            $($(#[$attribute])* $module::add_to_linker(linker)?;)+
            Ok(())
        }

        /// All that a component may import beside WASI.
        pub fn interfaces() -> impl Iterator<Item = &'static str> {
            [$($(#[$attribute])* $module::INTERFACES),+].into_iter().flatten().copied()
        }

        /// The capability that an import asks for and the operator has not granted;
        /// None if all is well. `import`: as in `shema:database/sql@0.1.0`.
        pub fn missing_grant(import: &str, grants: &config::Grants) -> Option<&'static str> {
            let interface = import.split('@').next().unwrap_or_default();
            let all: &[fn(&str, &config::Grants) -> Option<&'static str>] =
                &[$($(#[$attribute])* $module::missing_grant),+];
            all.iter().find_map(|missing| missing(interface, grants))
        }
    };
}

capabilities! {
    calls,
    database,
    events,
    http_client,
    log,
    redis,
    settings,
    sockets,
    tokens,
    #[cfg(test)]
    dice,
}

/// What the host holds for all components.
pub struct Shared {
    pub services: Arc<Services>,
    pub hub: Arc<sockets::hub::Hub>,
    /// Set when all components are loaded. Weak, because the components hold this.
    pub components: Arc<OnceLock<Weak<dyn calls::Components>>>,
}

/// From what a component's grants are made.
pub struct Granting<'a> {
    /// Name of the component.
    pub component: &'a str,
    pub config: &'a config::Component,
    pub shared: &'a Shared,
}

/// What the host knows of the request that a call answers.
#[derive(Clone, Default)]
pub struct Context {
    pub request_id: String,
    /// First 12 hex digits of the artifact's SHA-256.
    pub version: String,
    /// The access token of the request, if it was verified.
    pub token: Option<PresentedToken>,
    /// Calls that this one is inside of.
    pub depth: u8,
    /// End of the call.
    pub deadline: Option<Instant>,
    /// A repetition, which must leave no trace.
    pub read_only: bool,
}

/// A store's data that has the present call in it.
pub trait HasCall: Send + 'static {
    fn call(&mut self) -> &mut Call;
}

/// Time that one call spent outside the component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub database: Duration,
    pub redis: Duration,
}

/// What a capability keeps for one call.
trait CallState: Default {
    /// The call is over; what it has used is added to `usage`.
    fn end(self, _component: &str, _context: &Context, _usage: &mut Usage) {}
}

/// For a capability that keeps nothing.
impl CallState for () {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        services::{
            database::{Pool, Roles},
            http_client::Client,
            rate_limit::Limiter,
            redis::Store,
            tokens::{Signer, Verifier, certificates::Certificates},
        },
        telemetry::operator_events::OperatorEvents,
    };
    use std::collections::BTreeMap;
    use wasmtime::{Engine, Store as Instances, component::Component};

    #[test]
    fn what_may_be_imported_is_what_the_world_offers() {
        let world = include_str!("../../wit/world.wit");
        let imports = world.lines().filter_map(|line| line.trim().strip_prefix("import ")?.strip_suffix(';'));
        let known: Vec<&str> = interfaces().collect();
        let missing: Vec<&str> = imports.filter(|import| !known.contains(import)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    struct Data(Call);

    impl HasCall for Data {
        fn call(&mut self) -> &mut Call {
            &mut self.0
        }
    }

    /// Connects to nothing: what is not asked for is not there.
    fn shared(config: &Config) -> Shared {
        let options = sqlx::postgres::PgConnectOptions::new_without_pgpass();
        let (owner, redis, http_client) = (Pool::owner(&options), Arc::new(Store::memory("")), Client::new());
        let (signer, http_client) = (Arc::new(Signer::new(config)), http_client.expect("a client"));
        let verifier = Verifier { signer: Arc::clone(&signer), pool: owner.clone(), redis: Arc::clone(&redis) };
        let services = Services {
            roles: Roles::new(&options, ""),
            operator_events: Arc::new(OperatorEvents::new("")),
            limiter: Arc::new(Limiter::new(Vec::new(), Arc::clone(&redis))),
            certificates: Arc::new(Certificates::new(http_client.clone())),
            service_account: None,
            verifier: Arc::new(verifier),
            outbox_secret: String::new(),
            http_client,
            owner,
            redis,
            signer,
        };
        Shared { services: Arc::new(services), hub: Arc::default(), components: Arc::default() }
    }

    /// `dice` is a module, a WIT package, and a line in the list, which is all that
    /// the README asks for.
    #[tokio::test]
    async fn a_capability_is_a_module_a_package_and_a_line_in_the_list() {
        crate::services::crypto::install_tls_provider();
        let package = include_str!("../../tests/fixtures/dice/dice.wit");
        assert!(package.contains("package fixture:dice@0.1.0;") && package.contains("interface dice {"));
        assert!(interfaces().any(|interface| interface == "fixture:dice/dice@0.1.0"));
        assert_eq!(missing_grant("fixture:dice/dice@0.1.0", &config::Grants::default()), None);

        let directory = std::env::temp_dir().join(format!("shema-dice-{}", std::process::id()));
        let data_dir = directory.to_string_lossy().into_owned();
        let config = Config::from(BTreeMap::from([("SHEMA_DATA_DIR".to_owned(), data_dir)])).expect("a configuration");
        std::fs::remove_dir_all(directory).expect("removed");
        let component = config::Component::unnamed(config.default_limits.clone());
        let granting = Granting { component: "six", config: &component, shared: &shared(&config) };
        let grants = Arc::new(Grants::new(&granting).await.expect("the grants"));

        let engine = Engine::default();
        let thrower = include_str!("../../tests/fixtures/dice/thrower.wat");
        let thrower = Component::new(&engine, wat::parse_str(thrower).expect("WAT")).expect("a component");
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker).expect("all capabilities are linked");
        let mut store = Instances::new(&engine, Data(Call::new(grants)));
        let instance = linker.instantiate_async(&mut store, &thrower).await.expect("an instance");
        let throw = instance.get_typed_func::<(u8,), (u8,)>(&mut store, "throw").expect("its export");
        for (times, sum) in [(2, 6), (3, 9), (5, 9)] {
            store.data_mut().call().begin(Context::default());
            assert_eq!(throw.call_async(&mut store, (times,)).await.expect("a sum"), (sum,));
            store.data_mut().call().end();
        }
    }
}
