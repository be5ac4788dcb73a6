//! The part of OData that clients of the older protocol speak: which resource a path names, and which entities a query
//! asks for.
//!
//! What a filter says of things that are not known here, and functions that are not, count as fulfilled: clients look
//! at what they get.
//!
//! <https://www.odata.org/documentation/odata-version-2-0/uri-conventions/>

use std::str::FromStr;

use super::names::{PackageId, Version};
use super::records::Shown;

/// How deep expressions may nest.
const MAX_DEPTH: usize = 32;

/// The longest expression.
const MAX_FILTER_BYTES: usize = 8 << 10;

/// The most entities of one answer.
pub(super) const MAX_TOP: u64 = 100;

/// What a path names, relative to that of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// `$metadata`
    Metadata,
    /// `Packages`, `Packages()`
    Packages,
    /// `Packages(Id='a',Version='1.0')`
    Package(PackageId, Version),
    /// `FindPackagesById()`
    FindPackagesById,
    /// `Search()`
    Search,
    /// `GetUpdates()`
    GetUpdates,
    /// Any of the lists, as a number: `Search()/$count`.
    Count(Box<Resource>),
    /// `package/a/1.0`, or its newest version.
    Download(PackageId, Option<Version>),
}

/// A path that names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoResource;

impl FromStr for Resource {
    type Err = NoResource;

    fn from_str(path: &str) -> Result<Self, NoResource> {
        let path = path.trim_end_matches('/');
        if let Some(list) = path.strip_suffix("/$count") {
            return match list.parse()? {
                Self::Metadata | Self::Package(..) | Self::Download(..) | Self::Count(_) => Err(NoResource),
                list => Ok(Self::Count(Box::new(list))),
            };
        }
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["$metadata"] => Ok(Self::Metadata),
            ["Packages" | "Packages()"] => Ok(Self::Packages),
            ["FindPackagesById" | "FindPackagesById()"] => Ok(Self::FindPackagesById),
            ["Search" | "Search()"] => Ok(Self::Search),
            ["GetUpdates" | "GetUpdates()"] => Ok(Self::GetUpdates),
            ["package" | "Package", id] => Ok(Self::Download(named(id)?, None)),
            ["package" | "Package", id, version] => Ok(Self::Download(named(id)?, Some(named(version)?))),
            [key] => package(key),
            _ => Err(NoResource),
        }
    }
}

fn named<T: FromStr>(text: &str) -> Result<T, NoResource> {
    text.parse().map_err(|_| NoResource)
}

/// `Packages(Id='a',Version='1.0')`
fn package(key: &str) -> Result<Resource, NoResource> {
    let inner = key
        .strip_prefix("Packages(")
        .and_then(|rest| rest.strip_suffix(')'));
    let (mut id, mut version) = (None, None);
    for member in inner.ok_or(NoResource)?.split(',') {
        let (name, value) = member.split_once('=').ok_or(NoResource)?;
        let value = unquoted(value.trim());
        match name.trim() {
            "Id" => id = Some(named(&value)?),
            "Version" => version = Some(named(&value)?),
            _ => return Err(NoResource),
        }
    }
    match (id, version) {
        (Some(id), Some(version)) => Ok(Resource::Package(id, version)),
        _ => Err(NoResource),
    }
}

/// The text of a literal: what is between quotes, in which two of them stand for one.
fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("''", "'"))
}

/// What a query asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) filter: Option<Filter>,
    pub(super) order: Option<String>,
    pub(super) skip: u64,
    pub(super) top: Option<u64>,
    /// Whether the number of all entities is to be in the answer.
    pub(super) counts: bool,
    pub(super) id: String,
    pub(super) search_term: String,
    pub(super) include_prerelease: bool,
    pub(super) knows_semver2: bool,
    pub(super) package_ids: String,
    pub(super) versions: String,
    pub(super) include_all_versions: bool,
    pub(super) version_constraints: String,
}

/// A query that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query is malformed: {0}")]
pub(super) struct BadQuery(&'static str);

impl Query {
    pub(super) fn read(query: &str) -> Result<Self, BadQuery> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let text = || unquoted(value.trim());
            let number = || {
                value
                    .trim()
                    .parse()
                    .map_err(|_| BadQuery("$skip and $top are numbers"))
            };
            let is_true = || text().eq_ignore_ascii_case("true");
            match name.as_ref() {
                "$filter" if !value.trim().is_empty() => read.filter = Some(value.parse()?),
                "$orderby" => read.order = Some(value.trim().to_ascii_lowercase()),
                "$skip" => read.skip = number()?,
                "$top" => read.top = Some(number()?),
                "$inlinecount" => read.counts = value.trim() == "allpages",
                "id" => read.id = text(),
                "searchTerm" => read.search_term = text(),
                "includePrerelease" => read.include_prerelease = is_true(),
                "semVerLevel" => read.knows_semver2 = text().starts_with('2'),
                "packageIds" => read.package_ids = text(),
                "versions" => read.versions = text(),
                "includeAllVersions" => read.include_all_versions = is_true(),
                "versionConstraints" => read.version_constraints = text(),
                _ => {}
            }
        }
        Ok(read)
    }

    /// How many entities are given at most.
    pub(super) fn take(&self) -> u64 {
        self.top.unwrap_or(MAX_TOP).min(MAX_TOP)
    }

    /// Whether the greatest versions come first.
    pub(super) fn is_descending(&self) -> bool {
        let order = self.order.as_deref().unwrap_or_default();
        order.starts_with("version") && order.contains(" desc")
    }

    /// Whether packages come in the order of their names.
    pub(super) fn is_by_name(&self) -> bool {
        self.order
            .as_deref()
            .is_some_and(|order| order.starts_with("id") || order.starts_with("title"))
    }

    /// Of each package, the one version that the filter lets through, if it does so with one alone.
    pub(super) fn only(&self) -> Option<Only> {
        let filter = self.filter.as_ref()?;
        [Only::Latest, Only::AbsoluteLatest]
            .into_iter()
            .find(|only| filter.demands(&Expression::Property(only.property().into())))
    }

    /// The name of the one package that the filter lets through, if it does so with one alone.
    pub(super) fn only_id(&self) -> Option<&str> {
        self.filter.as_ref()?.demanded_id()
    }
}

/// A version that there is one of in each package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    /// The newest that is no prerelease.
    Latest,
    /// The newest.
    AbsoluteLatest,
}

impl Only {
    fn property(self) -> &'static str {
        match self {
            Self::Latest => "IsLatestVersion",
            Self::AbsoluteLatest => "IsAbsoluteLatestVersion",
        }
    }
}

/// What a filter looks at.
pub(super) struct Row<'a> {
    pub(super) id: &'a str,
    pub(super) version: &'a Version,
    pub(super) is_listed: bool,
    pub(super) is_latest: bool,
    pub(super) is_absolute_latest: bool,
    /// Of the package.
    pub(super) shown: &'a Shown,
}

/// A condition on entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter(Expression);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Compared(Box<Expression>, Comparison, Box<Expression>),
    Called(String, Vec<Expression>),
    Property(String),
    Text(String),
    Truth(bool),
    Null,
    /// A number, a date.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What an expression comes to.
enum Value {
    Text(String),
    Version(Version),
    Truth(bool),
    Null,
    Unknown,
}

impl Value {
    fn is_fulfilled(&self) -> bool {
        !matches!(self, Self::Truth(false))
    }
}

impl Filter {
    /// Whether an entity is let through.
    pub(super) fn takes(&self, row: &Row<'_>) -> bool {
        self.0.of(row).is_fulfilled()
    }

    /// What all that is let through must fulfil, one by one.
    fn demanded(&self) -> Vec<&Expression> {
        let (mut open, mut found) = (vec![&self.0], Vec::new());
        while let Some(next) = open.pop() {
            match next {
                Expression::And(one, other) => open.extend([&**one, &**other]),
                single => found.push(single),
            }
        }
        found
    }

    fn demands(&self, wanted: &Expression) -> bool {
        self.demanded().into_iter().any(|demanded| match demanded {
            Expression::Compared(one, Comparison::Equal, other) => {
                **one == *wanted && **other == Expression::Truth(true)
            }
            demanded => demanded == wanted,
        })
    }

    fn demanded_id(&self) -> Option<&str> {
        let is_id = |expression: &Expression| match expression {
            Expression::Property(name) => name == "Id",
            Expression::Called(name, arguments) => {
                name == "tolower" && arguments.as_slice() == [Expression::Property("Id".into())]
            }
            _ => false,
        };
        self.demanded().into_iter().find_map(|demanded| match demanded {
            Expression::Compared(one, Comparison::Equal, other) => match (&**one, &**other) {
                (property, Expression::Text(id)) | (Expression::Text(id), property) if is_id(property) => {
                    Some(id.as_str())
                }
                _ => None,
            },
            _ => None,
        })
    }
}

impl Expression {
    fn of(&self, row: &Row<'_>) -> Value {
        match self {
            Self::And(one, other) => Value::Truth(one.of(row).is_fulfilled() && other.of(row).is_fulfilled()),
            Self::Or(one, other) => Value::Truth(one.of(row).is_fulfilled() || other.of(row).is_fulfilled()),
            Self::Not(inner) => match inner.of(row) {
                Value::Truth(truth) => Value::Truth(!truth),
                _ => Value::Unknown,
            },
            Self::Compared(one, comparison, other) => compare(one.of(row), *comparison, other.of(row)),
            Self::Called(name, arguments) => call(name, arguments, row),
            Self::Property(name) => property(name, row),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Truth(truth) => Value::Truth(*truth),
            Self::Null => Value::Null,
            Self::Other => Value::Unknown,
        }
    }
}

fn property(name: &str, row: &Row<'_>) -> Value {
    match name {
        "Id" => Value::Text(row.id.to_lowercase()),
        "Version" | "NormalizedVersion" => Value::Version(row.version.clone()),
        "IsLatestVersion" => Value::Truth(row.is_latest),
        "IsAbsoluteLatestVersion" => Value::Truth(row.is_absolute_latest),
        "IsPrerelease" => Value::Truth(row.version.is_prerelease()),
        "Listed" => Value::Truth(row.is_listed),
        "Title" => Value::Text(row.shown.title.to_lowercase()),
        "Description" | "Summary" => Value::Text(row.shown.description.to_lowercase()),
        "Tags" => Value::Text(row.shown.tags.join(" ").to_lowercase()),
        "Authors" => Value::Text(row.shown.authors.to_lowercase()),
        _ => Value::Unknown,
    }
}

fn compare(one: Value, comparison: Comparison, other: Value) -> Value {
    use std::cmp::Ordering;
    let ordering = match (&one, &other) {
        (Value::Text(one), Value::Text(other)) => one.to_lowercase().cmp(&other.to_lowercase()),
        (Value::Version(one), Value::Version(other)) => one.cmp(other),
        (Value::Version(one), Value::Text(other)) => match other.parse() {
            Ok(other) => one.cmp(&other),
            Err(_) => Ordering::Less,
        },
        (Value::Text(one), Value::Version(other)) => match one.parse::<Version>() {
            Ok(one) => one.cmp(other),
            Err(_) => Ordering::Less,
        },
        (Value::Truth(one), Value::Truth(other)) => one.cmp(other),
        (Value::Null, Value::Null) => Ordering::Equal,
        // Nothing that is known here is null.
        (Value::Null, Value::Unknown) | (Value::Unknown, _) | (_, Value::Unknown) => return Value::Unknown,
        _ => Ordering::Less,
    };
    Value::Truth(match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::Unequal => ordering.is_ne(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
    })
}

fn call(name: &str, arguments: &[Expression], row: &Row<'_>) -> Value {
    let text = |at: usize| match arguments.get(at).map(|argument| argument.of(row)) {
        Some(Value::Text(text)) => Some(text.to_lowercase()),
        Some(Value::Version(version)) => Some(version.in_urls()),
        _ => None,
    };
    match (name, text(0), text(1)) {
        ("tolower" | "toupper" | "trim", Some(text), _) => Value::Text(text),
        ("substringof", Some(part), Some(whole)) => Value::Truth(whole.contains(&part)),
        ("startswith", Some(whole), Some(part)) => Value::Truth(whole.starts_with(&part)),
        ("endswith", Some(whole), Some(part)) => Value::Truth(whole.ends_with(&part)),
        _ => Value::Unknown,
    }
}

impl FromStr for Filter {
    type Err = BadQuery;

    fn from_str(text: &str) -> Result<Self, BadQuery> {
        if text.len() > MAX_FILTER_BYTES {
            return Err(BadQuery("the filter is too long"));
        }
        let mut parser = Parser {
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
        };
        let expression = parser.any_of()?;
        match parser.next() {
            None => Ok(Self(expression)),
            Some(_) => Err(BadQuery("the filter goes on after its end")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
}

fn tokens(text: &str) -> Result<Vec<Token>, BadQuery> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '\'' => {
                let mut end = 1;
                loop {
                    let quote = rest[end..]
                        .find('\'')
                        .ok_or(BadQuery("a text in the filter does not end"))?;
                    end += quote + 1;
                    match rest[end..].starts_with('\'') {
                        true => end += 1,
                        false => break,
                    }
                }
                (Token::Text(unquoted(&rest[..end])), end)
            }
            _ => {
                let is_end = |c: char| c.is_whitespace() || "(),'".contains(c);
                let end = rest.find(is_end).unwrap_or(rest.len());
                // `datetime'…'` is one literal.
                let word = rest[..end].to_owned();
                (Token::Word(word), end.max(1))
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, token: &Token) -> bool {
        let is_next = self.peek() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.takes(&Token::Word(word.into()))
    }

    fn any_of(&mut self) -> Result<Expression, BadQuery> {
        let mut found = self.all_of()?;
        while self.takes_word("or") {
            found = Expression::Or(Box::new(found), Box::new(self.all_of()?));
        }
        Ok(found)
    }

    fn all_of(&mut self) -> Result<Expression, BadQuery> {
        let mut found = self.condition()?;
        while self.takes_word("and") {
            found = Expression::And(Box::new(found), Box::new(self.condition()?));
        }
        Ok(found)
    }

    fn condition(&mut self) -> Result<Expression, BadQuery> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(BadQuery("the filter is nested too deep"));
        }
        let found = if self.takes_word("not") {
            Expression::Not(Box::new(self.condition()?))
        } else {
            let one = self.operand()?;
            match self.comparison() {
                Some(comparison) => {
                    Expression::Compared(Box::new(one), comparison, Box::new(self.operand()?))
                }
                None => one,
            }
        };
        self.depth -= 1;
        Ok(found)
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let Some(Token::Word(word)) = self.peek() else {
            return None;
        };
        let comparison = match word.as_str() {
            "eq" => Comparison::Equal,
            "ne" => Comparison::Unequal,
            "gt" => Comparison::Greater,
            "ge" => Comparison::GreaterOrEqual,
            "lt" => Comparison::Less,
            "le" => Comparison::LessOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn operand(&mut self) -> Result<Expression, BadQuery> {
        match self.next() {
            Some(Token::Open) => {
                let inner = self.any_of()?;
                match self.takes(&Token::Close) {
                    true => Ok(inner),
                    false => Err(BadQuery("a bracket in the filter is not closed")),
                }
            }
            Some(Token::Text(text)) => Ok(Expression::Text(text)),
            Some(Token::Word(word)) => self.word(word),
            Some(Token::Close | Token::Comma) | None => Err(BadQuery("something is missing in the filter")),
        }
    }

    fn word(&mut self, word: String) -> Result<Expression, BadQuery> {
        if self.takes(&Token::Open) {
            let mut arguments = Vec::new();
            while !self.takes(&Token::Close) {
                if !arguments.is_empty() && !self.takes(&Token::Comma) {
                    return Err(BadQuery("a bracket in the filter is not closed"));
                }
                arguments.push(self.condition()?);
            }
            return Ok(Expression::Called(word.to_ascii_lowercase(), arguments));
        }
        if matches!(self.peek(), Some(Token::Text(_))) {
            // `datetime'…'`
            self.at += 1;
            return Ok(Expression::Other);
        }
        Ok(match word.as_str() {
            "true" => Expression::Truth(true),
            "false" => Expression::Truth(false),
            "null" => Expression::Null,
            number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Expression::Other,
            _ => Expression::Property(word),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_name_resources() {
        let check = |path: &str, expected: Result<Resource, NoResource>| {
            assert_eq!(path.parse::<Resource>(), expected, "{path}");
        };
        let package =
            |id: &str, version: &str| Resource::Package(id.parse().unwrap(), version.parse().unwrap());
        check("$metadata", Ok(Resource::Metadata));
        check("Packages", Ok(Resource::Packages));
        check("Packages()", Ok(Resource::Packages));
        check("Packages()/", Ok(Resource::Packages));
        check("Packages(Id='A.b',Version='1.0')", Ok(package("A.b", "1.0")));
        check("Packages(Version='1.0-a', Id='A')", Ok(package("A", "1.0-a")));
        check("Search()/$count", Ok(Resource::Count(Box::new(Resource::Search))));
        check("GetUpdates()", Ok(Resource::GetUpdates));
        check(
            "package/A/1.0",
            Ok(Resource::Download(
                "A".parse().unwrap(),
                Some("1.0".parse().unwrap()),
            )),
        );
        check("package/A", Ok(Resource::Download("A".parse().unwrap(), None)));
        for path in [
            "",
            "x",
            "Packages(",
            "Packages(Id='a')",
            "Packages(Id='../a',Version='1')",
            "Packages(Id='a',Version='x')",
            "$metadata/$count",
            "package",
            "package/a/b/c",
            "Search()/$count/$count",
            "Packages(Id='a',Version='1',X='y')",
        ] {
            check(path, Err(NoResource));
        }
    }

    #[test]
    fn queries_are_read() {
        let query = Query::read(
            "$filter=IsLatestVersion&$orderby=Version%20desc&$skip=30&$top=500&searchTerm='it''s'&id=%27A%27\
             &includePrerelease=true&semVerLevel=2.0.0&$inlinecount=allpages&other=x",
        )
        .unwrap();
        assert_eq!((query.skip, query.take()), (30, MAX_TOP));
        assert_eq!((query.search_term.as_str(), query.id.as_str()), ("it's", "A"));
        assert!(query.is_descending() && query.include_prerelease && query.knows_semver2 && query.counts);
        assert_eq!(query.only(), Some(Only::Latest));
        for text in ["$skip=x", "$top=-1", "$filter=(", "$filter='a", "$filter=Id eq"] {
            assert!(Query::read(text).is_err(), "{text}");
        }
    }

    fn takes(filter: &str) -> bool {
        let version = "1.5.0".parse().unwrap();
        let shown = Shown {
            title: "Lib".into(),
            tags: vec!["json".into()],
            ..Shown::default()
        };
        let row = Row {
            id: "Acme.Lib",
            version: &version,
            is_listed: true,
            is_latest: true,
            is_absolute_latest: false,
            shown: &shown,
        };
        filter.parse::<Filter>().unwrap().takes(&row)
    }

    #[test]
    fn filters_let_through_what_they_say() {
        for filter in [
            "IsLatestVersion",
            "IsLatestVersion eq true",
            "tolower(Id) eq 'acme.lib'",
            "Id eq 'ACME.LIB'",
            "((Id ne null) and substringof('lib',tolower(Id)))",
            "startswith(tolower(Id),'acme') and not IsPrerelease",
            "Version eq '1.5'",
            "Version gt '1.4.9' and Version lt '1.10'",
            "IsAbsoluteLatestVersion or IsLatestVersion",
            "substringof('json', Tags)",
            "Published gt datetime'2020-01-01T00:00:00'",
            "Unknown eq 5 and somefunction(Id, 'x') eq 3",
            "not Unknown",
        ] {
            assert!(takes(filter), "{filter}");
        }
        for filter in [
            "IsAbsoluteLatestVersion",
            "not IsLatestVersion",
            "Id eq 'other' or Id eq 'it''s'",
            "Id eq 'acme.lib' and IsPrerelease",
            "Version le '1.4'",
            "Version eq 'x'",
            "endswith(Id, 'acme')",
            "Id eq null",
        ] {
            assert!(!takes(filter), "{filter}");
        }
    }

    #[test]
    fn one_package_or_version_is_told_by_its_filter() {
        let only = |filter: &str| {
            let query = Query::read(&format!("$filter={filter}")).unwrap();
            (query.only_id().map(str::to_owned), query.only())
        };
        assert_eq!(
            only("(tolower(Id) eq 'a') and IsLatestVersion"),
            (Some("a".into()), Some(Only::Latest))
        );
        assert_eq!(
            only("'a' eq Id and (Version eq '1' and IsAbsoluteLatestVersion eq true)"),
            (Some("a".into()), Some(Only::AbsoluteLatest))
        );
        assert_eq!(only("Id eq 'a' or IsLatestVersion"), (None, None));
    }

    #[test]
    fn deep_filters_are_refused() {
        let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
        assert!(deep.parse::<Filter>().is_err());
        assert!("not ".repeat(100).parse::<Filter>().is_err());
        assert!("a(".repeat(100).parse::<Filter>().is_err());
    }

    proptest! {
        #[test]
        fn any_filter_is_read_or_refused(filter in "\\PC{0,30}|(not |and |or |eq |\\(|\\)|'|''|Id|true|,|tolower\\(){0,16}") {
            if filter.parse::<Filter>().is_ok() {
                takes(&filter);
            }
            let _ = filter.parse::<Resource>();
        }
    }
}
