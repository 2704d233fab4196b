//! Finds the component for a path as Spin does, with Spin's own matcher: exact routes first, then the longest.

use anyhow::{Result, bail};

use crate::config::manifest::{HttpTrigger, Route};

/// The public routes. A component with a private route is reachable by service chaining only.
#[derive(Debug, Default)]
pub(crate) struct Routes(routefinder::Router<Target>);

#[derive(Clone, Debug)]
struct Target {
    component: String,
    route: String,
}

/// The component for a path, and what Spin tells it about the match.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) component: String,
    /// The route as written in the manifest.
    pub(crate) route: String,
    /// The part of the path that the trailing wildcard matched.
    pub(crate) path_info: String,
}

impl Match {
    /// The match for a chained request, which may have any path.
    pub(crate) fn chained(component: &str, path: &str) -> Self {
        Self { component: component.to_owned(), route: "/...".to_owned(), path_info: path.to_owned() }
    }
}

impl Routes {
    pub(crate) fn new(triggers: &[HttpTrigger]) -> Result<Self> {
        let mut routes = Self::default();
        let mut seen = Vec::new();
        for trigger in triggers {
            let Route::Path(route) = &trigger.route else { continue };
            if seen.contains(&route) {
                bail!("two triggers have the route {route:?}");
            }
            seen.push(route);
            let pattern = match route.strip_suffix("/...") {
                Some(prefix) => format!("{prefix}/*"),
                None => route.clone(),
            };
            let target = Target { component: trigger.component.clone(), route: route.clone() };
            if let Err(error) = routes.0.add(pattern.as_str(), target) {
                bail!("the route {route:?} is malformed: {error}");
            }
        }
        Ok(routes)
    }

    /// The component for a path, if there is one.
    pub(crate) fn find(&self, path: &str) -> Option<Match> {
        let best = self.0.best_match(path)?;
        let target = best.handler().clone();
        let path_info = match best.captures().wildcard() {
            None => String::new(),
            // Spin keeps a trailing slash, which the matcher drops.
            Some("") if path.ends_with('/') => "/".to_owned(),
            Some("") => String::new(),
            Some(rest) => format!("/{rest}{}", if path.ends_with('/') { "/" } else { "" }),
        };
        Some(Match { component: target.component, route: target.route, path_info })
    }

    /// Every public route with its component, in the manifest's order.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(_, target)| (target.route.as_str(), target.component.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(list: &[(&str, &str)]) -> Result<Routes> {
        let triggers: Vec<HttpTrigger> = list
            .iter()
            .map(|(route, component)| {
                toml::from_str(&format!("route = {route}\ncomponent = \"{component}\"")).unwrap()
            })
            .collect();
        Routes::new(&triggers)
    }

    fn component(routes: &Routes, path: &str) -> Option<String> {
        routes.find(path).map(|found| found.component)
    }

    #[test]
    fn the_exact_route_wins_then_the_longest() {
        let routes = routes(&[
            ("\"/...\"", "root"),
            ("\"/health/...\"", "health"),
            ("\"/health/verification\"", "verification"),
            ("\"/health/a/b/...\"", "deep"),
        ])
        .unwrap();
        for (path, expected) in [
            ("/", "root"),
            ("/other", "root"),
            ("/health", "health"),
            ("/health/", "health"),
            ("/health/verification", "verification"),
            ("/health/verification/x", "health"),
            ("/health/a/b/c/d", "deep"),
        ] {
            assert_eq!(component(&routes, path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_wildcard_passes_on_the_rest_of_the_path() {
        let routes = routes(&[("\"/a/...\"", "a"), ("\"/b\"", "b")]).unwrap();
        for (path, rest) in [("/a", ""), ("/a/", "/"), ("/a/x", "/x"), ("/a/x/y/", "/x/y/"), ("/b", "")] {
            assert_eq!(routes.find(path).unwrap().path_info, rest, "{path}");
        }
        assert_eq!(routes.find("/b/x"), None);
        assert_eq!(routes.find("/c"), None);
    }

    #[test]
    fn a_private_route_is_not_found_from_outside() {
        let routes = routes(&[("{ private = true }", "a")]).unwrap();
        assert_eq!(routes.find("/"), None);
        assert_eq!(routes.list().count(), 0);
    }

    #[test]
    fn a_duplicate_route_is_refused() {
        assert!(routes(&[("\"/a\"", "a"), ("\"/a\"", "b")]).is_err());
    }
}
