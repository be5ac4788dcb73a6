//! What handlers of the REST API take and give, and how that describes itself in the OpenAPI
//! document: by the types in their signatures, so that nothing is said twice.
//!
//! The document itself is put together in [`crate::admin`].

use aide::generate::GenContext;
use aide::openapi::{
    MediaType, Operation, ReferenceOr, RequestBody, Response, SchemaObject, SecurityRequirement,
    StatusCode as Status,
};
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema, set_body};
use aide::transform::TransformOperation;
use aide::{OperationInput, OperationOutput};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::app::App;
use crate::auth::{Access, Action, Authorised};
use crate::http::body::{JsonBody, Params};
use crate::http::error::ApiError;
use crate::http::form::Query;
use crate::http::page::{Page, Paging};
use crate::registry::door::Resource;
use crate::registry::sign_in::Visitor;

/// Names an operation for those who generate clients, and says what it does.
pub(crate) fn about(
    id: &'static str,
    summary: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| operation.id(id).summary(summary)
}

/// The same of one whose handler puts its answer together by itself.
pub(crate) fn about_giving<const STATUS: u16, R: OperationOutput>(
    id: &'static str,
    summary: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| about(id, summary)(operation).response::<STATUS, R>()
}

/// The same of one whose body has fields that must be there, although its type is that of a change too,
/// which may leave them out.
pub(crate) fn about_new(
    id: &'static str,
    summary: &'static str,
    required: &'static [&'static str],
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |mut operation| {
        if let Some(ReferenceOr::Item(body)) = &mut operation.inner_mut().request_body {
            body.required = true;
            for content in body.content.values_mut() {
                if let Some(schema) = &mut content.schema {
                    schema.json_schema.insert("required".into(), required.into());
                }
            }
        }
        about(id, summary)(operation)
    }
}

/// The schema of what a handler reads: whole, so that types of the same name do not meet.
fn taken<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema
}

/// What a parameter of a query can be: there is no null in it.
fn without_null(schema: &mut Schema) {
    let properties = schema
        .as_object_mut()
        .and_then(|schema| schema.get_mut("properties"));
    let Some(properties) = properties.and_then(Value::as_object_mut) else {
        return;
    };
    for property in properties.values_mut() {
        if let Some(choices) = property.get_mut("anyOf").and_then(Value::as_array_mut) {
            choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(only)] = choices.as_slice() {
                let mut only = only.clone();
                if let Some(told) = property.get("description") {
                    only.insert("description".into(), told.clone());
                }
                *property = only.into();
            }
        }
        if let Some(kinds) = property.get_mut("type")
            && let Some(several) = kinds.as_array_mut()
        {
            several.retain(|kind| kind != "null");
            if let [one] = several.as_slice() {
                *kinds = one.clone();
            }
        }
        if let Some(values) = property.get_mut("enum").and_then(Value::as_array_mut) {
            values.retain(|value| !value.is_null());
        }
    }
}

fn describe_query<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation) {
    let mut schema = taken::<T>();
    without_null(&mut schema);
    let parameters = parameters_from_schema(ctx, schema, ParamLocation::Query);
    add_parameters(ctx, operation, parameters);
    refuses(operation, 400, "BadRequest");
}

/// Says that an operation may fail in one of the ways that the document describes once for all.
fn refuses(operation: &mut Operation, status: u16, name: &str) {
    let reference = ReferenceOr::ref_(&format!("#/components/responses/{name}"));
    let responses = operation.responses.get_or_insert_default();
    responses.responses.insert(Status::Code(status), reference);
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        describe_query::<T>(ctx, operation);
    }
}

impl OperationInput for Paging {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        describe_query::<Self>(ctx, operation);
    }
}

impl<T: JsonSchema> OperationInput for Params<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        describe_body::<T>(ctx, operation);
    }
}

impl<T: JsonSchema> OperationInput for JsonBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        describe_body::<T>(ctx, operation);
    }
}

impl OperationInput for Visitor {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        operation.description = Some("For whoever has not signed in yet.".into());
        refuses(operation, 401, "Unauthorized");
    }
}

fn describe_body<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation) {
    let schema = taken::<T>();
    let body = RequestBody {
        required: schema.get("required").is_some(),
        content: once(("application/json".to_owned(), content(schema))),
        ..RequestBody::default()
    };
    set_body(ctx, operation, body);
    refuses(operation, 400, "BadRequest");
}

fn once<E, C: FromIterator<E>>(entry: E) -> C {
    std::iter::once(entry).collect()
}

fn content(json_schema: Schema) -> MediaType {
    MediaType {
        schema: Some(SchemaObject {
            json_schema,
            external_docs: None,
            example: None,
        }),
        ..MediaType::default()
    }
}

/// Parts of the path, by name or in order. What cannot be one of them names nothing.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let read = axum::extract::Path::from_request_parts(parts, app).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|error| ApiError::parameter(error.body_text()))
    }
}

/// What its parts mean is the same in all paths, and said in the document once.
impl<T> OperationInput for Path<T> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        refuses(operation, 400, "BadRequest");
    }
}

impl OperationInput for Access {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        operation.description = Some("The answer has what the caller may see.".into());
        refuses(operation, 401, "Unauthorized");
    }
}

impl<T: Resource, A: Action> OperationInput for Authorised<T, A> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        operation.description = Some(T::who_may(A::VERB));
        if !T::is_open(A::VERB) {
            // Which credentials there are is for the document to say.
            operation.security.push(SecurityRequirement::default());
        }
        refuses(operation, 401, "Unauthorized");
        refuses(operation, 403, "Forbidden");
        refuses(operation, 404, "NotFound");
    }
}

/// How it fails is the same everywhere, and said in the document once.
impl OperationOutput for ApiError {
    type Inner = Self;
}

fn given<T: JsonSchema>(ctx: &mut GenContext) -> Response {
    Response {
        content: once((
            "application/json".to_owned(),
            content(ctx.schema.subschema_for::<T>()),
        )),
        ..Response::default()
    }
}

macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident => $status:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name<T>(pub(crate) T);

        impl<T: Serialize> IntoResponse for $name<T> {
            fn into_response(self) -> axum::response::Response {
                (StatusCode::$status, axum::Json(self.0)).into_response()
            }
        }

        impl<T: JsonSchema> OperationOutput for $name<T> {
            type Inner = T;

            fn inferred_responses(ctx: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, Response)> {
                vec![(Some(StatusCode::$status.as_u16()), given::<T>(ctx))]
            }
        }
    )*};
}

answers! {
    /// 201, with what was made.
    Created => CREATED;
    /// 202, with what is to come of it.
    Accepted => ACCEPTED;
}

/// An answer that only says that it is one.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Message {
    message: &'static str,
}

impl Message {
    pub(crate) const ACCEPTED: Self = Self {
        message: "202 Accepted",
    };
}

/// An answer without a body.
pub(crate) struct Nothing<const STATUS: u16>;

impl<const STATUS: u16> IntoResponse for Nothing<STATUS> {
    fn into_response(self) -> axum::response::Response {
        let status = StatusCode::from_u16(STATUS);
        status
            .expect("handlers name statuses that there are")
            .into_response()
    }
}

impl<const STATUS: u16> OperationOutput for Nothing<STATUS> {
    type Inner = ();

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<Response> {
        Some(Response::default())
    }

    fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, Response)> {
        vec![(Some(STATUS), Response::default())]
    }
}

/// The headers that say where a page is in its list.
const PAGE_HEADERS: [&str; 7] = [
    "Link",
    "X-Page",
    "X-Per-Page",
    "X-Next-Page",
    "X-Prev-Page",
    "X-Total",
    "X-Total-Pages",
];

impl<T: JsonSchema> OperationOutput for Page<T> {
    type Inner = Vec<T>;

    fn inferred_responses(ctx: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, Response)> {
        let mut page = given::<Vec<T>>(ctx);
        for name in PAGE_HEADERS {
            let reference = ReferenceOr::ref_(&format!("#/components/headers/{name}"));
            page.headers.insert(name.into(), reference);
        }
        vec![(Some(200), page)]
    }
}

macro_rules! bytes {
    ($($(#[$doc:meta])* $name:ident => $kind:literal, $statuses:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) axum::response::Response);

        impl IntoResponse for $name {
            fn into_response(self) -> axum::response::Response {
                self.0
            }
        }

        impl OperationOutput for $name {
            type Inner = Self;

            fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, Response)> {
                $statuses.into_iter().map(|status| (Some(status), of_bytes(status, $kind))).collect()
            }
        }
    )*};
}

bytes! {
    /// A file, whole or in part, or that the client has it.
    FileBytes => "*/*", [200, 206, 304];
    /// A JSON document that was put together before.
    Document => "application/json", [200, 206, 304];
    /// A stream of bytes.
    Octets => "application/octet-stream", [200];
}

fn of_bytes(status: u16, kind: &str) -> Response {
    let description = match status {
        206 => "The part that was asked for.",
        304 => "The client has it already.",
        _ => "All of it.",
    };
    let mut response = Response {
        description: description.into(),
        ..Response::default()
    };
    if status != 304 {
        response.content.insert(kind.into(), MediaType::default());
    }
    response
}
