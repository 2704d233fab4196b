//! Service chaining: a request of one component to another, handled in memory.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
};

use anyhow::{Context, Result};
use http::{Request, Response};

use crate::body::{RequestBody, ResponseBody};

/// The end of the host names of components.
const SUFFIX: &str = ".spin.internal";

/// The component that a host such as `issuance.spin.internal` stands for.
pub(crate) fn chained_component(host: &str) -> Option<&str> {
    host.strip_suffix(SUFFIX).filter(|component| !component.contains('.'))
}

/// The application, as its components see it. A trait breaks the cycle: an application owns components, which call it.
pub(crate) trait CallComponent: Send + Sync {
    /// Hands a request to a component.
    ///
    /// # Errors
    /// There is no such component.
    fn call_component<'a>(
        &'a self,
        component: &'a str,
        request: Request<RequestBody>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<ResponseBody>>> + Send + 'a>>;
}

/// A component's way to the others, open once all are loaded.
#[derive(Clone, Default)]
pub(crate) struct Chaining(Arc<OnceLock<Weak<dyn CallComponent>>>);

impl Chaining {
    pub(crate) fn open(&self, application: Weak<impl CallComponent + 'static>) {
        let _ = self.0.set(application);
    }

    /// See [`CallComponent::call_component`].
    pub(crate) async fn call(
        &self,
        component: &str,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>> {
        let application = self.0.get().and_then(Weak::upgrade).context("the application is shutting down")?;
        application.call_component(component, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaining_hosts_name_one_component() {
        assert_eq!(chained_component("issuance.spin.internal"), Some("issuance"));
        assert_eq!(chained_component("a.b.spin.internal"), None);
        assert_eq!(chained_component("spin.internal"), None);
        assert_eq!(chained_component("issuance.spin.internal.evil.example"), None);
    }
}
