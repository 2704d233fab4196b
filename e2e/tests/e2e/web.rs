//! The page and openapi.yaml, as they are served.

use std::{fs, io::Read};

use e2e::{Response, TestApp, page_files, read};
use flate2::read::GzDecoder;
use reqwest::Method;

async fn get_with(app: &TestApp, path: &str, header: (&str, &str)) -> Response {
    app.send(app.request(Method::GET, path).header(header.0, header.1)).await
}

#[tokio::test]
async fn every_file_is_served_unchanged_with_its_media_type() {
    let app = TestApp::any().await;
    let files = page_files();
    assert!(files.len() > 10);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let media_type = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("unknown file extension .{other}"),
        };
        let response = app.get(&format!("/{name}")).await;
        assert_eq!((response.status, response.header("content-type")), (200, Some(media_type)), "{name}");
        assert!(response.body == fs::read(&file).unwrap(), "{name}");
        assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
    }
    let index = app.get("/").await;
    assert!(index.body == app.get("/index.html").await.body);
    assert!(index.text().contains("<title>Kube Credentials</title>"));
}

#[test]
fn the_page_loads_all_its_modules_at_once() {
    let index = read("web/static/index.html");
    let preloads = index.split("<link rel=\"modulepreload\" href=\"").skip(1);
    let mut named: Vec<_> = preloads.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(index.contains("<script type=\"module\" src=\"app.js\"></script>"));
    named.push("app.js".to_owned());
    let files = page_files().into_iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned());
    let mut modules: Vec<_> = files.filter(|name| name.ends_with(".js")).collect();
    named.sort();
    modules.sort();
    assert_eq!(named, modules);
}

#[tokio::test]
async fn openapi_yaml_is_served_unchanged_to_any_allowed_origin() {
    let app = TestApp::any().await;
    let response = get_with(&app, "/openapi.yaml", ("origin", "https://elsewhere.example")).await;
    assert_eq!(response.header("content-type"), Some("application/yaml"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert!(response.text() == read("openapi.yaml"));
}

#[tokio::test]
async fn a_file_with_a_matching_etag_is_a_304() {
    let app = TestApp::any().await;
    for path in ["/", "/app.js", "/openapi.yaml"] {
        let first = app.get(path).await;
        assert_eq!(first.header("cache-control"), Some("no-cache"));
        let etag = first.header("etag").unwrap();
        for condition in [etag, &etag.replace("W/", ""), &format!("\"other\", {etag}"), "*"] {
            let again = get_with(&app, path, ("if-none-match", condition)).await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{condition}");
            for header in ["etag", "cache-control", "vary"] {
                assert_eq!(again.header(header), first.header(header), "{header}");
            }
            assert_eq!(again.header("content-length"), None);
            assert!(again.header("x-request-id").is_some());
        }
        let other = get_with(&app, path, ("if-none-match", "W/\"other\"")).await;
        assert!(other.status == 200 && other.body == first.body);
    }
}

#[tokio::test]
async fn files_are_compressed_only_for_clients_that_accept_gzip() {
    let app = TestApp::any().await;
    for path in ["/", "/app.css", "/dom.js", "/openapi.yaml"] {
        let plain = app.get(path).await;
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
        for (accept, is_compressed) in [
            ("gzip", true),
            ("gzip, br", true),
            ("br, gzip;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("identity", false),
        ] {
            let response = get_with(&app, path, ("accept-encoding", accept)).await;
            assert_eq!(response.header("etag"), plain.header("etag"));
            assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
            if is_compressed {
                assert_eq!(response.header("content-encoding"), Some("gzip"), "{path}: {accept}");
                assert!(response.body.len() * 2 < plain.body.len(), "{path}");
                let mut body = Vec::new();
                GzDecoder::new(response.body.as_slice()).read_to_end(&mut body).unwrap();
                assert!(body == plain.body, "{path}");
            } else {
                assert!(response.body == plain.body, "{path}: {accept}");
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_page_for_browsers_and_a_problem_for_programs() {
    let app = TestApp::any().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for path in ["/nothing", "/index.html/", "/assets/app.js", "/%2e%2e/spin.toml", "/.env", "//"] {
        let page = get_with(&app, path, ("accept", browser)).await;
        let content_type = page.header("content-type");
        assert_eq!((page.status, content_type), (404, Some("text/html; charset=utf-8")), "{path}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(page.text().contains("Nothing here"));
        for program in [
            "*/*",
            "application/json",
            "text/html;q=0, application/json",
            "text/html;q=0.000",
            "application/json, text/html;q=0.9, */*;q=0.1",
            "text/html ; q=0.5 , application/json",
            "text/html;q=0.5, application/problem+json",
        ] {
            let problem = get_with(&app, path, ("accept", program)).await;
            problem.assert_problem(404, "not-found");
            assert!(problem.header("vary").is_some_and(|vary| vary.contains("accept")));
        }
    }
}

#[tokio::test]
async fn the_page_for_an_unknown_path_leads_to_the_root_from_any_depth() {
    let app = TestApp::any().await;
    for (path, root) in [("/nothing", "./"), ("/a/b", "./../"), ("/a/b/", "./../../"), ("/?x=/a/b", "")] {
        let text = get_with(&app, path, ("accept", "text/html")).await.text();
        assert!(!text.contains("href=\"/"), "{path}: {text}");
        for file in ["icon.svg", "app.css"] {
            assert!(text.contains(&format!("href=\"{root}{file}\"")), "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn files_are_for_get_and_head() {
    let app = TestApp::any().await;
    let post = app.send(app.request(Method::POST, "/")).await;
    post.assert_problem(405, "method-not-allowed");
    assert_eq!(post.header("allow"), Some("GET,HEAD"));
    let head = app.send(app.request(Method::HEAD, "/app.js")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), app.get("/app.js").await.header("content-length"));
}

#[tokio::test]
async fn the_page_may_reach_only_its_own_origin() {
    let app = TestApp::any().await;
    for path in ["/", "/app.js", "/nothing"] {
        let response = app.get(path).await;
        let policy = response.header("content-security-policy").unwrap();
        for rule in
            ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    }
    for path in page_files() {
        let text = fs::read_to_string(&path).unwrap();
        let elsewhere = text.matches("://").count() - text.matches("http://www.w3.org/2000/svg").count();
        let example = text.matches("https://credentials.example.com").count();
        assert_eq!(elsewhere, example, "{} names another host", path.display());
        for inline in ["<style", " style=", "onclick=\"", "javascript:", "innerHTML", "eval("] {
            assert!(!text.contains(inline), "{} contains {inline}", path.display());
        }
    }
}
