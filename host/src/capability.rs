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
    ($($module:ident),+ $(,)?) => {
        $(pub mod $module;)+

        /// What one component is granted, shared by all its instances and versions.
        pub struct Grants {
            /// Name of the component.
            pub component: String,
            $(pub $module: $module::Grant,)+
        }

        impl Grants {
            pub async fn new(granting: &Granting<'_>) -> anyhow::Result<Grants> {
                Ok(Grants {
                    component: granting.component.to_owned(),
                    $($module: $module::grant(granting).await?,)+
                })
            }
        }

        /// One call: what the component is granted, and what the call has used of
        /// it so far.
        pub struct Call {
            grants: Arc<Grants>,
            context: Context,
            $($module: $module::State,)+
        }

        impl Call {
            pub fn new(grants: Arc<Grants>) -> Call {
                Call { grants, context: Context::default(), $($module: Default::default(),)+ }
            }

            pub fn begin(&mut self, context: Context) {
                self.context = context;
                $(self.$module = Default::default();)+
            }

            /// Ends the call: what it left open is rolled back, behind the answer.
            pub fn end(&mut self) -> Usage {
                let mut usage = Usage::default();
                $(std::mem::take(&mut self.$module).end(&self.grants.component, &self.context, &mut usage);)+
                usage
            }
        }

        /// Ties the interfaces of all capabilities to the host's functions.
        pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
            $($module::add_to_linker(linker)?;)+
            Ok(())
        }

        /// All that a component may import beside WASI.
        pub fn interfaces() -> impl Iterator<Item = &'static str> {
            [$($module::INTERFACES),+].into_iter().flatten().copied()
        }

        /// The capability that an import asks for and the operator has not granted;
        /// None if all is well. `import`: as in `shema:database/sql@0.1.0`.
        pub fn missing_grant(import: &str, grants: &config::Grants) -> Option<&'static str> {
            let interface = import.split('@').next().unwrap_or_default();
            None$(.or_else(|| $module::missing_grant(interface, grants)))+
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
    #[test]
    fn what_may_be_imported_is_what_the_world_offers() {
        let world = include_str!("../../wit/world.wit");
        let imports = world.lines().filter_map(|line| line.trim().strip_prefix("import ")?.strip_suffix(';'));
        let known: Vec<&str> = super::interfaces().collect();
        let missing: Vec<&str> = imports.filter(|import| !known.contains(import)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
