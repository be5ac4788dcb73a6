"""What a script does that keeps groups, projects, tokens and packages in order.

Arguments: the URLs of three nodes, a token of an administrator, and a name that nobody else has.
"""

import datetime
import hashlib
import json
import pathlib
import sys
import urllib.request

import gitlab
from gitlab.const import AccessLevel

*URLS, TOKEN, NAME = sys.argv[1:]


def signed_in(node, token=TOKEN):
    return gitlab.Gitlab(URLS[node], private_token=token, per_page=100)


def refused(status, work):
    try:
        work()
    except gitlab.GitlabError as error:
        assert error.response_code == status, error
        return error.error_message
    raise AssertionError(f"{status} was expected")


one, two, three = map(signed_in, range(3))
one.auth()
assert one.user.username == "root"
version, _ = two.version()
assert version != "unknown"

# The tree, each step through another node.
group = one.groups.create({"name": "Story", "path": NAME})
below = two.groups.create({"name": "Below", "path": "below", "parent_id": group.id})
project = three.projects.create({"name": "App", "path": "app", "namespace_id": below.id, "visibility": "private"})
path = f"{NAME}/below/app"
assert one.projects.get(path).id == project.id
assert [found.id for found in two.groups.get(NAME).subgroups.list(get_all=True)] == [below.id]
assert [found.id for found in group.projects.list(include_subgroups=True, get_all=True)] == [project.id]
assert project.id in [found.id for found in one.projects.list(search="app", iterator=True)]
keyset = one.projects.list(pagination="keyset", order_by="id", per_page=1, iterator=True)
assert project.id in [found.id for found in keyset]
project.description = "changed"
project.save()
assert two.projects.get(project.id).description == "changed"
group.visibility = "internal"
group.save()
refused(400, lambda: one.projects.create({"name": "App", "path": "app", "namespace_id": below.id}))
refused(404, lambda: one.projects.get(f"{NAME}/nothing"))
refused(401, lambda: signed_in(0, "cnp-wrong").projects.get(project.id))

# People and their roles.
user = one.users.create({
    "username": f"{NAME}-ann", "name": "Ann", "email": f"{NAME}@cairn.example", "force_random_password": True,
})
assert [found.id for found in two.users.list(username=user.username)] == [user.id]
member = project.members.create({"user_id": user.id, "access_level": AccessLevel.REPORTER})
member.access_level = AccessLevel.DEVELOPER
member.save()
assert two.projects.get(project.id).members.get(user.id).access_level == AccessLevel.DEVELOPER
assert user.id in [found.id for found in project.members_all.list(get_all=True)]
tomorrow = (datetime.date.today() + datetime.timedelta(days=1)).isoformat()
own = user.personal_access_tokens.create({"name": "own", "scopes": ["api"], "expires_at": tomorrow})
ann = signed_in(1, own.token)
ann.auth()
assert ann.user.id == user.id
refused(403, lambda: ann.projects.get(project.id).deploytokens.create({"name": "no", "scopes": ["read_registry"]}))
tokens = one.personal_access_tokens.list(user_id=user.id, get_all=True)
assert [found.name for found in tokens] == ["own"]
one.personal_access_tokens.delete(tokens[0].id)
refused(401, lambda: signed_in(2, own.token).auth())

# Tokens of the project.
bot = project.access_tokens.create({
    "name": "bot", "scopes": ["api"], "access_level": AccessLevel.MAINTAINER, "expires_at": tomorrow,
})
worker = signed_in(2, bot.token)
deploy = project.deploytokens.create({"name": "deploy", "scopes": ["read_package_registry"], "username": "deployer"})
assert deploy.token and deploy.username == "deployer"
assert [found.id for found in two.projects.get(project.id).deploytokens.list(get_all=True)] == [deploy.id]

# Packages: published by the bot through one node, read through another.
content = pathlib.Path("tool.bin")
content.write_bytes(hashlib.sha256(NAME.encode()).digest() * 4096)
target = worker.projects.get(project.id)
for number in range(3):
    target.generic_packages.upload("tool", f"1.0.{number}", "tool.bin", content)
got = one.projects.get(project.id).generic_packages.download("tool", "1.0.1", "tool.bin")
assert got == content.read_bytes()
packages = project.packages.list(package_name="tool", order_by="version", sort="desc", get_all=True)
assert [found.version for found in packages] == ["1.0.2", "1.0.1", "1.0.0"]
assert [found.id for found in group.packages.list(get_all=True)] == [found.id for found in reversed(packages)]
package = two.projects.get(project.id).packages.get(packages[0].id)
files = package.package_files.list(get_all=True)
assert [(found.file_name, found.size) for found in files] == [("tool.bin", content.stat().st_size)]
assert files[0].file_sha256 == hashlib.sha256(content.read_bytes()).hexdigest()
package.package_files.delete(files[0].id)
assert package.package_files.list(get_all=True) == []
package.delete()
refused(404, lambda: one.projects.get(project.id).packages.get(package.id))

# Rules that protect names, and what goes by itself.
rule = project.package_protection_rules.create({
    "package_name_pattern": "too*", "package_type": "generic", "minimum_access_level_for_push": "owner",
})
refused(403, lambda: target.generic_packages.upload("tool", "2.0.0", "tool.bin", content))
rule.minimum_access_level_for_push = "maintainer"
rule.save()
target.generic_packages.upload("tool", "2.0.0", "tool.bin", content)
rules = two.projects.get(project.id).package_protection_rules.list(get_all=True)
assert [(found.id, found.minimum_access_level_for_push) for found in rules] == [(rule.id, "maintainer")]
rule.delete()
images = project.registry_protection_repository_rules.create({
    "repository_path_pattern": f"{path}/prod*", "minimum_access_level_for_push": "admin",
})
images.minimum_access_level_for_delete = "owner"
images.save()
project.registry_protection_repository_rules.delete(images.id)
assert project.registry_protection_repository_rules.list(get_all=True) == []
project.container_expiration_policy_attributes = {"enabled": True, "cadence": "7d", "keep_n": 5}
project.container_registry_access_level = "private"
project.save()
changed = three.projects.get(project.id)
assert changed.container_expiration_policy["keep_n"] == 5 and changed.container_expiration_policy["next_run_at"]
assert (changed.container_registry_access_level, changed.package_registry_access_level) == ("private", "enabled")

# Container tags, of an image with nothing in it.
empty = b"{}"
digest = "sha256:" + hashlib.sha256(empty).hexdigest()


def send(method, url, body=b"", content_type="application/octet-stream"):
    headers = {"PRIVATE-TOKEN": bot.token, "Content-Type": content_type}
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.headers


send("POST", f"{URLS[0]}/v2/{path}/image/blobs/uploads/?digest={digest}", empty)
manifest = "application/vnd.oci.image.manifest.v1+json"
descriptor = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": len(empty)}
image = json.dumps({"schemaVersion": 2, "mediaType": manifest, "config": descriptor, "layers": [descriptor]})
for tag in ["latest", "1.0", "1.1", "2.0"]:
    send("PUT", f"{URLS[1]}/v2/{path}/image/manifests/{tag}", image.encode(), manifest)
[repository] = two.projects.get(project.id).repositories.list(get_all=True)
assert repository.path == f"{path}/image"
assert {tag.name for tag in repository.tags.list(get_all=True)} == {"latest", "1.0", "1.1", "2.0"}
assert repository.tags.get("1.0").total_size == len(empty)
repository.tags.delete("2.0")
refused(404, lambda: repository.tags.get("2.0"))
repository.tags.delete_in_bulk(name_regex_delete="1\\..*", keep_n=0)
assert three.registry_repositories.get(repository.id, tags_count=True).tags_count == 1
repository.delete()
assert three.projects.get(project.id).repositories.list(get_all=True) == []

# What was done is told, and everything goes away again.
names = {event.event_name for event in one.projects.get(project.id).audit_events.list(get_all=True)}
assert {"project.created", "member.added", "package.file_added", "image.pushed"} <= names, names
project.access_tokens.delete(bot.id)
refused(401, lambda: worker.projects.get(project.id))
project.deploytokens.delete(deploy.id)
project.members.delete(user.id)
refused(409, group.delete)
project.delete()
refused(404, lambda: two.projects.get(project.id))
below.delete()
group.delete()
refused(404, lambda: three.groups.get(NAME))
