//! Lists in the documents match the code.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{
    Setup, TestApp, needs_own_host,
    openapi::{document, members},
    read,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

type Names = BTreeSet<String>;

fn names<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Names {
    names.into_iter().map(Into::into).collect()
}

/// The text between each pair of backticks.
fn ticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The text between two others, which must occur.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    found.unwrap_or_else(|| panic!("there is no {before:?} with a {after:?} after it")).0
}

/// The cells of the table whose header begins like this.
#[track_caller]
fn table<'a>(text: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let (_, below) = text.split_once(&format!("\n| {header}")).unwrap();
    let rows = below.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The variants of an enum, as clap spells them.
fn variants(code: &str, name: &str) -> Names {
    let body = between(code, &format!("enum {name} {{\n"), "\n}");
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = variants.filter(|line| line.starts_with(|character: char| character.is_ascii_uppercase()));
    variants.map(|line| kebab_case(line.split([' ', ',', '(']).next().unwrap())).collect()
}

fn kebab_case(camel_case: &str) -> String {
    let mut kebab_case = String::new();
    for character in camel_case.chars() {
        if character.is_ascii_uppercase() && !kebab_case.is_empty() {
            kebab_case.push('-');
        }
        kebab_case.push(character.to_ascii_lowercase());
    }
    kebab_case
}

/// The operations in openapi.yaml, without those of the page.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = members(&document()["paths"]).iter();
    let operations = paths.flat_map(|(path, item)| {
        members(item).iter().map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    });
    operations.filter(|(_, _, operation)| operation["tags"][0] != "web")
}

#[test]
fn readme_has_the_routes_and_who_may_use_them() {
    let role = |token: &str| match token {
        "issuerToken" => "issuers",
        "verifierToken" => "verifiers",
        "adminToken" => "admins",
        "metricsToken" => "monitors",
        other => panic!("unknown kind of token: {other}"),
    };
    let access = |operation: &Value| {
        let ways = operation["security"].as_array().unwrap();
        let tokens: Vec<_> = ways.iter().flat_map(|way| way.as_object().unwrap().keys()).collect();
        let mut roles: Vec<_> = tokens.into_iter().map(|token| role(token)).collect();
        roles.sort_unstable();
        let is_open = ways.is_empty() || ways.contains(&json!({}));
        match (is_open, roles.join(", ").as_str()) {
            (true, "") => "anyone".to_owned(),
            (true, roles) => format!("anyone, or {roles}"),
            (false, roles) => roles.to_owned(),
        }
    };
    let expected: BTreeMap<_, _> = operations()
        .map(|(method, path, operation)| {
            (format!("{} {path}", method.to_ascii_uppercase()), access(operation))
        })
        .collect();

    let readme = read("README.md");
    let mut listed = BTreeMap::<String, String>::new();
    for row in table(&readme, "route | access |") {
        let words = ticked(row[0]).flat_map(str::split_whitespace);
        let (paths, methods): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with('/'));
        let access = match row[1].strip_prefix("as ") {
            Some(other) => listed[&format!("{} {}", methods[0], other.trim_matches('`'))].clone(),
            None => row[1].to_owned(),
        };
        for (path, method) in paths.iter().flat_map(|path| methods.iter().map(move |method| (path, method))) {
            listed.insert(format!("{method} {path}"), access.clone());
        }
    }
    assert_eq!(listed, expected);
}

#[test]
fn readme_has_the_routes_of_each_component() {
    let manifest = read("spin.toml");
    let mut triggers = Vec::new();
    for trigger in manifest.split("[[trigger.http]]\n").skip(1) {
        triggers.push((between(trigger, "route = \"", "\""), between(trigger, "component = \"", "\"")));
    }
    // Exact routes win, then the longest prefix.
    triggers.sort_by_key(|(route, _)| (route.ends_with("..."), usize::MAX - route.len()));
    let component = |path: &str| {
        let matches = |route: &str| match route.strip_suffix("...") {
            Some(start) => format!("{path}/").starts_with(start),
            None => route == path,
        };
        triggers.iter().find(|(route, _)| matches(route)).unwrap().1.to_owned()
    };
    let mut expected = BTreeMap::<_, Names>::new();
    for path in members(&document()["paths"]).keys() {
        expected.entry(component(path)).or_default().insert(path.clone());
    }
    let readme = read("README.md");
    let rows = table(&readme, "component | routes |");
    let listed = rows.iter().map(|row| (row[0].trim_matches('`').to_owned(), names(ticked(row[1]))));
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn readme_has_the_variables_and_no_others() {
    let manifest = read("spin.toml");
    let variables = between(&manifest, "[variables]\n", "\n\n").lines().filter(|line| !line.starts_with('#'));
    let readme = read("README.md");
    let rows = table(&readme, "variable | default |");
    assert_eq!(
        names(rows.iter().flat_map(|row| ticked(row[0]))),
        names(variables.map(|line| line.split_once(" = ").unwrap().0))
    );
}

/// The kinds of problems below a value of `openapi.yaml`, each with its status.
fn collect_problems(value: &Value, found: &mut Names) {
    let properties = &value["properties"];
    if let Some(status) = properties["status"]["const"].as_u64() {
        let kind = &properties["type"];
        let kinds = kind["enum"].as_array().cloned().unwrap_or_else(|| vec![kind["const"].clone()]);
        for kind in kinds {
            let kind = kind.as_str().unwrap().strip_prefix("urn:kube-credentials:problem:").unwrap();
            found.insert(format!("{status} {kind}"));
        }
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| collect_problems(member, found)),
        Value::Array(items) => items.iter().for_each(|item| collect_problems(item, found)),
        _ => {}
    }
}

#[test]
fn readme_and_openapi_yaml_have_the_kinds_of_problems() {
    let statuses: BTreeMap<_, _> = (400..600)
        .filter_map(|code| Some((StatusCode::from_u16(code).ok()?.canonical_reason()?, code)))
        .map(|(reason, code)| (reason.to_ascii_uppercase().replace(' ', "_"), code))
        .collect();
    let code = read("platform/src/edge/problem.rs");
    let kinds = between(&code, "match self {", "\n        }\n").split("(\"").skip(1);
    let expected = names(kinds.map(|kind| {
        let status = kind.split_once("StatusCode::").unwrap().1;
        let end = status.find(|character: char| character != '_' && !character.is_ascii_uppercase());
        format!("{} {}", statuses[&status[..end.unwrap()]], kind.split('"').next().unwrap())
    }));
    assert!(expected.len() >= 13, "{expected:?}");

    let readme = read("README.md");
    let rows = table(&readme, "status | `type` ends in |");
    assert_eq!(names(rows.iter().map(|row| format!("{} {}", row[0], row[1].trim_matches('`')))), expected);
    let mut documented = Names::new();
    collect_problems(document(), &mut documented);
    assert_eq!(documented, expected);
}

#[test]
fn readme_has_the_statuses() {
    let readme = read("README.md");
    let of_credentials = between(&readme, "* The `status` of a credential is", ";");
    let of_verdicts = between(&readme, "that of a verdict", ".");
    for (text, schema) in [(of_credentials, "CredentialStatus"), (of_verdicts, "VerdictStatus")] {
        let statuses = document()["components"]["schemas"][schema]["enum"].as_array().unwrap();
        assert_eq!(names(ticked(text)), names(statuses.iter().map(|status| status.as_str().unwrap())));
    }
}

#[test]
fn the_documents_have_the_commands_the_loads_and_the_views() {
    let (readme, bench, web) = (read("README.md"), read("tools/bench/README.md"), read("docs/web.md"));
    let commands = between(&readme, "is `cargo xtask` (", ")");
    assert_eq!(names(ticked(commands)), variants(&read("tools/xtask/src/main.rs"), "Task"));

    let loads = table(&bench, "load |");
    let loads = names(loads.iter().flat_map(|row| ticked(row[0])));
    assert_eq!(loads, variants(&read("tools/bench/src/load.rs"), "Load"));

    let page = read("web/static/index.html");
    let links = between(&page, "<nav", "</nav>").split("<a ").skip(1);
    let views = names(links.map(|link| between(link, ">", "</a>")));
    assert_eq!(names(table(&web, "view |").iter().map(|row| row[0])), views);
}

#[test]
fn readme_has_the_folders_of_the_crates() {
    let manifest = read("Cargo.toml");
    let members = between(&manifest, "members = [", "]").split('"').skip(1).step_by(2);
    let crates = names(members.map(|member| member.split('/').next().unwrap()));
    let readme = read("README.md");
    let rows = table(&readme, "folder |");
    let folders =
        names(rows.iter().flat_map(|row| ticked(row[0])).map(|folder| folder.trim_end_matches('/')));
    assert!(folders.is_superset(&crates), "README.md has {folders:?}, not all of {crates:?}");
}

#[tokio::test]
async fn docs_web_md_and_openapi_yaml_have_the_headers_that_pages_may_read() {
    let app = TestApp::any().await;
    let request = app.request(Method::GET, "/verifications").header("origin", "https://page.example");
    let response = app.send(request).await;
    let exposed = response.header("access-control-expose-headers").unwrap().split(',');
    let exposed = names(exposed.map(|name| name.trim().to_ascii_lowercase()));
    let (web, api) = (read("docs/web.md"), read("openapi.yaml"));
    for listed in [
        between(&web, "; pages may read", "\n\n"),
        between(&api, "Pages may send any header, and read", "\n\n"),
    ] {
        assert_eq!(names(ticked(listed).map(str::to_ascii_lowercase)), exposed);
    }
}

#[tokio::test]
async fn docs_web_md_has_the_headers_that_a_static_host_should_send() {
    /// Headers that belong to the file, the request or the connection.
    const OTHERS: [&str; 12] = [
        "access-control-allow-origin",
        "access-control-expose-headers",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "date",
        "etag",
        "server",
        "transfer-encoding",
        "vary",
        "x-request-id",
    ];
    needs_own_host!();
    let page = Setup::new().start().await.get("/").await;
    let web = read("docs/web.md");
    let block =
        format!("frame-ancestors{}", between(&web, "```\nContent-Security-Policy: frame-ancestors", "```"));
    let mut found = names(["content-security-policy"]);
    let mut lines = block.lines();
    assert!(page.header("content-security-policy").unwrap().contains(lines.next().unwrap()));
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(page.header(name), Some(value), "{name}");
        found.insert(name.to_ascii_lowercase());
    }
    let sent = page.headers.keys().map(|name| name.as_str()).filter(|name| !OTHERS.contains(name));
    assert_eq!(found, names(sent));
}

#[tokio::test]
async fn operations_md_and_openapi_yaml_have_the_columns_of_each_export() {
    let app = TestApp::any().await;
    let operations = read("docs/operations.md");
    let section = between(&operations, "\n## Export\n", "\n## ");
    for (list, next) in [("verifications", "credentials:"), ("credentials", "(JSON)")] {
        let request = app.admin(Method::GET, &format!("/{list}?limit=1")).header("accept", "text/csv");
        let response = app.send(request).await;
        let header = response.text();
        let columns: Vec<_> =
            header.lines().next().unwrap().split(',').map(|name| name.trim_matches('"')).collect();
        let listed = between(section, &format!("* {list}:"), next);
        assert_eq!(ticked(listed).collect::<Vec<_>>(), columns, "docs/operations.md");
        let path = &document()["paths"][format!("/{list}")]["get"]["responses"]["200"];
        let prose = path["content"]["text/csv"]["schema"]["description"].as_str().unwrap();
        let prose = between(prose, "the columns", ". Only");
        assert_eq!(ticked(prose).collect::<Vec<_>>(), columns, "openapi.yaml");
    }
}
