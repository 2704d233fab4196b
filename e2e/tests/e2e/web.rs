//! How the page and the API's description are served.

use std::{fs, io::Read};

use flate2::read::GzDecoder;
use reqwest::Method;

use e2e::{Answer, TestApp, workspace};

async fn get_with(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = app.request(Method::GET, path);
    app.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn every_file_of_the_page_is_served_as_it_is_with_its_media_type() {
    let app = TestApp::any().await;
    let mut served = 0;
    for file in fs::read_dir(workspace().join("web/static")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let media_type = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("what is .{other}?"),
        };
        let answer = app.get(&format!("/{name}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)), "{name}");
        assert!(answer.body == fs::read(file.path()).unwrap(), "{name}");
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        served += 1;
    }
    assert!(served > 10);
    let index = app.get("/").await;
    assert!(index.body == app.get("/index.html").await.body);
    assert!(index.text().contains("<title>Kube Credentials</title>"));
}

#[tokio::test]
async fn the_description_of_the_api_is_served_to_any_origin_that_may_call_it() {
    let app = TestApp::any().await;
    let answer = get_with(&app, "/openapi.yaml", &[("origin", "https://elsewhere.example")]).await;
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.body == fs::read(workspace().join("openapi.yaml")).unwrap());
}

#[tokio::test]
async fn what_the_client_has_already_is_not_sent_again() {
    let app = TestApp::any().await;
    for path in ["/", "/app.js", "/openapi.yaml"] {
        let first = app.get(path).await;
        assert_eq!(first.header("cache-control"), Some("no-cache"));
        let etag = first.header("etag").unwrap();
        for condition in
            [etag.to_owned(), etag.replace("W/", ""), format!("\"other\", {etag}"), "*".to_owned()]
        {
            let again = get_with(&app, path, &[("if-none-match", &condition)]).await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{condition}");
            for header in ["etag", "cache-control", "vary"] {
                assert_eq!(again.header(header), first.header(header), "{header}");
            }
            assert_eq!(again.header("content-length"), None);
            assert!(again.header("x-request-id").is_some());
        }
        let other = get_with(&app, path, &[("if-none-match", "W/\"other\"")]).await;
        assert!(other.status == 200 && other.body == first.body);
    }
}

#[tokio::test]
async fn files_are_compressed_for_clients_that_accept_it_and_for_no_others() {
    let app = TestApp::any().await;
    for path in ["/", "/app.css", "/dom.js", "/openapi.yaml"] {
        let plain = app.get(path).await;
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
        let accepts = [("gzip", true), ("gzip, br", true), ("br, gzip;q=0.5", true), ("*", true)];
        for (accept, compressed) in accepts.into_iter().chain([("gzip;q=0", false), ("identity", false)]) {
            let answer = get_with(&app, path, &[("accept-encoding", accept)]).await;
            assert_eq!(answer.header("etag"), plain.header("etag"));
            assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
            if compressed {
                assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}: {accept}");
                assert!(answer.body.len() * 2 < plain.body.len(), "{path}");
                let mut body = Vec::new();
                GzDecoder::new(answer.body.as_slice()).read_to_end(&mut body).unwrap();
                assert!(body == plain.body, "{path}");
            } else {
                assert!(answer.body == plain.body, "{path}: {accept}");
            }
        }
    }
}

#[tokio::test]
async fn a_path_with_nothing_behind_it_is_a_page_for_browsers_and_a_problem_for_programs() {
    let app = TestApp::any().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for path in ["/nothing", "/index.html/", "/assets/app.js", "/%2e%2e/spin.toml", "/.env", "//"] {
        let page = get_with(&app, path, &[("accept", browser)]).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (404, Some("text/html; charset=utf-8")),
            "{path}"
        );
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(page.text().contains("Nothing here"));
        for accept in [
            "*/*",
            "application/json",
            "text/html;q=0, application/json",
            "text/html;q=0.000",
            "application/json, text/html;q=0.9, */*;q=0.1",
            "text/html;q=0.5, application/problem+json",
        ] {
            let problem = get_with(&app, path, &[("accept", accept)]).await;
            problem.assert_problem(404, "not-found");
            assert!(problem.header("vary").is_some_and(|vary| vary.contains("accept")));
        }
    }
    let post = app.send(app.request(Method::POST, "/")).await;
    post.assert_problem(405, "method-not-allowed");
    assert_eq!(post.header("allow"), Some("GET,HEAD"));
    let head = app.send(app.request(Method::HEAD, "/app.js")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), app.get("/app.js").await.header("content-length"));
}

#[tokio::test]
async fn the_page_may_load_and_call_nothing_but_its_own_origin() {
    let app = TestApp::any().await;
    for path in ["/", "/app.js", "/nothing"] {
        let answer = app.get(path).await;
        let policy = answer.header("content-security-policy").unwrap();
        for rule in
            ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for file in fs::read_dir(workspace().join("web/static")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let elsewhere = text.matches("://").count() - text.matches("http://www.w3.org/2000/svg").count();
        let example = text.matches("https://credentials.example.com").count();
        assert_eq!(elsewhere, example, "{} names another host", path.display());
        for inline in ["<style", " style=", "onclick=\"", "javascript:", "innerHTML", "eval("] {
            assert!(!text.contains(inline), "{} has {inline}", path.display());
        }
    }
}
