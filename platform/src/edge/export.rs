//! Lists page by page, in the format that the client prefers.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Uri, header, request::Parts};
use mediatype::{
    MediaType, Name,
    names::{APPLICATION, CSV, JSON, TEXT},
};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Cursors, Json, Problem, accept::negotiate, csv};
use crate::database::Page;

/// A list as responses name it.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// Its name, and that of the JSON member with the items.
    pub name: &'static str,
    /// The columns in CSV: all members an item can have.
    pub columns: &'static [&'static str],
}

/// The address and the format in which a client requests a page.
#[derive(Clone, Debug)]
pub struct Export {
    uri: Uri,
    format: Format,
}

/// The formats of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// An object with the items and the next cursor.
    Json,
    /// A header line on the first page only, then a line for each item, so that concatenated pages form one file.
    Csv,
    /// One line of JSON for each item.
    Ndjson,
}

/// A page in JSON.
struct Document<'a, T> {
    list: &'a str,
    items: &'a [T],
    next_cursor: Option<&'a str>,
}

impl<S: Sync> FromRequestParts<S> for Export {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self { uri: head.uri.clone(), format: Format::preferred(&head.headers) })
    }
}

impl Export {
    /// The response with a page, and with a link to the next one (RFC 8288) if there is one.
    ///
    /// # Errors
    /// A 500 if the page cannot be written.
    pub fn page<T: Serialize>(
        &self,
        list: &List,
        cursors: &Cursors<'_>,
        page: &Page<T>,
    ) -> Result<Response, Problem> {
        let next_cursor = page.next.as_deref().map(|key| cursors.write(key)).transpose()?;
        let mut response = self.body(list, &page.items, next_cursor.as_deref())?;
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        if let Some(cursor) = next_cursor {
            let link = HeaderValue::try_from(self.link(&cursor)).map_err(Problem::internal)?;
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    }

    fn body<T: Serialize>(
        &self,
        list: &List,
        items: &[T],
        next_cursor: Option<&str>,
    ) -> Result<Response, Problem> {
        let (content_type, body) = match self.format {
            Format::Json => return Ok(Json(Document { list: list.name, items, next_cursor }).into_response()),
            Format::Csv if self.is_first() => {
                ("text/csv; charset=utf-8; header=present", csv::write(list.columns, true, items)?)
            }
            Format::Csv => {
                ("text/csv; charset=utf-8; header=absent", csv::write(list.columns, false, items)?)
            }
            Format::Ndjson => ("application/x-ndjson", ndjson(items).map_err(Problem::internal)?),
        };
        Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response())
    }

    fn parameters(&self) -> form_urlencoded::Parse<'_> {
        form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes())
    }

    fn is_first(&self) -> bool {
        self.parameters().all(|(name, _)| name != "cursor")
    }

    /// The link to the page with this cursor, relative because the service may be served below any path.
    fn link(&self, cursor: &str) -> String {
        let others = self.parameters().filter(|(name, _)| name != "cursor");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("cursor", cursor)
            .finish();
        let name = self.uri.path().rsplit('/').next().unwrap_or_default();
        format!(r#"<{name}?{query}>; rel="next""#)
    }
}

impl Format {
    /// The format that the client prefers: JSON if it does not say, or accepts none of them.
    fn preferred(headers: &HeaderMap) -> Self {
        const X_NDJSON: Name<'_> = Name::new_unchecked("x-ndjson");

        let formats = [
            (MediaType::new(APPLICATION, JSON), Self::Json),
            (MediaType::new(TEXT, CSV), Self::Csv),
            (MediaType::new(APPLICATION, X_NDJSON), Self::Ndjson),
        ];
        negotiate(headers, &formats).unwrap_or(Self::Json)
    }
}

impl<T: Serialize> Serialize for Document<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(2))?;
        members.serialize_entry(self.list, self.items)?;
        members.serialize_entry("next_cursor", &self.next_cursor)?;
        members.end()
    }
}

fn ndjson<T: Serialize>(items: &[T]) -> Result<Vec<u8>, serde_json::Error> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, item)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use credentials::Secret;
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    fn preferred(accept: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        headers.extend(accept.iter().map(|value| (header::ACCEPT, value.parse().unwrap())));
        Format::preferred(&headers)
    }

    #[test]
    fn the_client_gets_the_format_it_prefers() {
        for (accept, format) in [
            (&["text/csv"][..], Format::Csv),
            (&["Text/CSV; Charset=UTF-8; header=absent"], Format::Csv),
            (&["text/*"], Format::Csv),
            (&["application/x-ndjson"], Format::Ndjson),
            (&["application/*"], Format::Json),
            (&["application/json;q=0.5, text/csv;q=0.6, application/x-ndjson;q=0.55"], Format::Csv),
            (&["application/json;q=0.5, text/csv;q=0.499"], Format::Json),
            (&["text/csv;charset=utf-8;q=0.5, application/x-ndjson"], Format::Ndjson),
            (&["application/json;q=0.1", "text/csv;q=0.2"], Format::Csv),
            // The most specific range counts.
            (&["application/*, application/json;q=0.5"], Format::Ndjson),
            (&["*/*, application/json;q=0"], Format::Csv),
            (&["text/*;q=0.9, text/csv;q=0.1, */*;q=0.2"], Format::Json),
            // White space, empty elements and quoted strings, as the grammar allows.
            (&["text/csv ; q=1 , application/json;q=0.1"], Format::Csv),
            (&["text/csv\t;\tq=0.9,\tapplication/json;q=0.1"], Format::Csv),
            (&["text/csv;Q=0.9, application/json;q=0.1"], Format::Csv),
            (&["application/json;q=0.100,text/csv;q=1.000"], Format::Csv),
            (&[",text/csv,,"], Format::Csv),
            (&["", "text/csv"], Format::Csv),
            (&["text/csv;x=\"a,b;q=0\""], Format::Csv),
            (&["text/csv;x=\"a\\\"b\";q=0.9, application/json;q=0.1"], Format::Csv),
            (&["text/csv;"], Format::Csv),
            (&["nonsense, text/csv"], Format::Csv),
            // Equally good.
            (&["*/*, text/csv"], Format::Csv),
            (&["application/x-ndjson, text/csv"], Format::Ndjson),
            (&["text/csv, application/x-ndjson"], Format::Csv),
        ] {
            assert_eq!(preferred(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn without_a_preference_for_one_of_them_it_is_json() {
        for accept in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/json"],
            &["application/json, text/plain, */*"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["image/png"],
            &["text/csv;q=0"],
            &["csv"],
        ] {
            assert_eq!(preferred(accept), Format::Json, "{accept:?}");
        }
    }

    const LIST: List = List { name: "things", columns: &["b", "a"] };

    /// Content type, link and body.
    async fn page(format: Format, uri: &'static str, next: Option<i64>) -> (String, Option<String>, String) {
        let secret = Secret::new(&"a".repeat(32)).unwrap();
        let cursors = Cursors::new(&secret, "things", "");
        let next = next.map(|key| vec![key.into()]);
        let cursor = next.as_deref().map(|key| cursors.write(key).unwrap());
        let page = Page { items: vec![json!({ "a": 1, "b": "x" }), json!({ "a": 2 })], next };
        let export = Export { uri: Uri::from_static(uri), format };
        let (head, body) = export.page(&LIST, &cursors, &page).unwrap().into_parts();
        assert_eq!(head.headers[header::VARY], "accept");
        let text = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let hide =
            |text: String| cursor.as_deref().map_or(text.clone(), |cursor| text.replace(cursor, "NEXT"));
        (text(header::CONTENT_TYPE).unwrap(), text(header::LINK).map(hide), hide(body))
    }

    #[tokio::test]
    async fn each_format_has_its_content_type_and_form() {
        for (format, uri, content_type, body) in [
            (
                Format::Json,
                "/",
                "application/json",
                r#"{"things":[{"a":1,"b":"x"},{"a":2}],"next_cursor":"NEXT"}"#,
            ),
            (Format::Ndjson, "/", "application/x-ndjson", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2}\n"),
            (
                Format::Csv,
                "/?limit=2",
                "text/csv; charset=utf-8; header=present",
                "\"b\",\"a\"\r\n\"x\",\"1\"\r\n\"\",\"2\"\r\n",
            ),
            (
                Format::Csv,
                "/?%63ursor=x",
                "text/csv; charset=utf-8; header=absent",
                "\"x\",\"1\"\r\n\"\",\"2\"\r\n",
            ),
        ] {
            let (actual_type, link, actual_body) = page(format, uri, Some(7)).await;
            assert_eq!((actual_type.as_str(), actual_body.as_str()), (content_type, body), "{uri}");
            assert!(link.is_some(), "{uri}");
        }
    }

    #[tokio::test]
    async fn the_link_keeps_the_parameters_but_the_cursor() {
        for (uri, link) in [
            ("/things", r#"<things?cursor=NEXT>; rel="next""#),
            ("http://host/api/things?cursor=x", r#"<things?cursor=NEXT>; rel="next""#),
            (
                "/things?limit=2&cursor=x&since=2026-11-23T18:05:38%2B01:00",
                r#"<things?limit=2&since=2026-11-23T18%3A05%3A38%2B01%3A00&cursor=NEXT>; rel="next""#,
            ),
        ] {
            assert_eq!(page(Format::Ndjson, uri, Some(7)).await.1.as_deref(), Some(link), "{uri}");
            assert_eq!(page(Format::Ndjson, uri, None).await.1, None);
        }
    }
}
