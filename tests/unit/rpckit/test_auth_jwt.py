"""JWTs: which are taken, whose calls they make, and why others are refused."""

import base64
import hmac
import json
from datetime import timedelta

import pytest

from rpckit import reloaded
from rpckit.auth_jwt import jwt_authenticator
from rpckit.auth_settings import ClientFacingSettings
from rpckit.errors import GatorError, Reason
from rpckit.identity import EVERYTHING, Identity, Scope
from rpckit.settings import SettingsError
from tests.support.tokens import AUDIENCE, ISSUER, Issuer


@pytest.fixture
def issuer():
    return Issuer()


@pytest.fixture
def authenticator(issuer, tmp_path, monkeypatch):
    monkeypatch.setattr(reloaded, "LOOK_EVERY", 0.0)

    def make(**settings):
        file = tmp_path / "keys.json"
        file.write_text(issuer.key_set())
        given = {"auth_issuer": ISSUER, "auth_audience": AUDIENCE}
        return jwt_authenticator(ClientFacingSettings(auth_jwks_file=file, **(given | settings)))

    return make


async def problem(authenticator, token):
    with pytest.raises(GatorError) as raised:
        await authenticator.identify(token)
    assert raised.value.reason is Reason.UNAUTHENTICATED
    assert token not in raised.value.message
    return raised.value.metadata["problem"]


async def test_a_good_token_tells_the_owner(authenticator, issuer):
    identity = await authenticator().identify(issuer.token("ada"))
    assert identity == Identity("ada", "ada", EVERYTHING)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256", "PS256"])
async def test_each_kind_of_key_is_taken_with_and_without_its_algorithm_named(
    authenticator, issuer, tmp_path, algorithm
):
    issuer.add("k2", algorithm)
    found = authenticator()
    assert (await found.identify(issuer.token("ada"))).owner == "ada"
    (tmp_path / "keys.json").write_text(issuer.key_set(alg=algorithm))
    assert (await found.identify(issuer.token("bob"))).owner == "bob"


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": timedelta(seconds=-60)}, "expired"),
        ({"nbf": timedelta(seconds=120)}, "not_yet_valid"),
        ({"iat": timedelta(seconds=120)}, "not_yet_valid"),
        ({"aud": "another"}, "audience"),
        ({"aud": ["another", "third"]}, "audience"),
        ({"iss": "https://another.example"}, "issuer"),
        ({"iss": f"{ISSUER}/"}, "issuer"),
        ({"exp": None}, "claim"),
        ({"aud": None}, "claim"),
        ({"iss": None}, "claim"),
        ({"sub": None}, "claim"),
        ({"sub": ""}, "owner"),
        ({"sub": "x" * 201}, "owner"),
        ({"sub": "a\x00b"}, "owner"),
        ({"exp": "tomorrow"}, "invalid"),
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(authenticator, issuer, claims, told):
    assert await problem(authenticator(), issuer.token(**claims)) == told


async def test_clocks_may_differ_by_the_leeway(authenticator, issuer):
    strict, lenient = authenticator(auth_leeway=0), authenticator(auth_leeway=30)
    just_over = issuer.token(exp=timedelta(seconds=-5))
    assert (await lenient.identify(just_over)).owner == "ada"
    assert await problem(strict, just_over) == "expired"


def unsigned(header, claims):
    parts = (json.dumps(part).encode() for part in (header, claims))
    encoded = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return ".".join([*encoded, ""])


GOOD = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": 1 << 40}


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, [], {"a": 1}, 7])
async def test_a_token_that_is_not_signed_is_refused(authenticator, algorithm):
    token = unsigned({"alg": algorithm, "kid": "k1", "typ": "JWT"}, GOOD)
    assert await problem(authenticator(), token) == "algorithm"


async def test_the_public_key_is_no_shared_secret(authenticator, issuer):
    """The classic attack: the public key, which all can read, used as an HMAC secret."""
    key_set = issuer.key_set()
    body = unsigned({"alg": "HS256", "kid": "k1"}, GOOD).rstrip(".")
    for secret in (key_set, json.dumps(json.loads(key_set)["keys"][0])):
        mac = hmac.digest(secret.encode(), body.encode(), "sha256")
        token = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert await problem(authenticator(), token) == "algorithm"


async def test_an_algorithm_that_is_not_allowed_is_refused(authenticator, issuer):
    assert await problem(authenticator(auth_algorithms="EdDSA"), issuer.token()) == "algorithm"


async def test_a_key_checks_only_its_own_kind_of_signature(authenticator, issuer):
    issuer.add("k1", "RS256")
    token = issuer.token()
    issuer.add("k1", "ES256")
    assert await problem(authenticator(), token) == "key"


async def test_a_signature_by_another_key_of_that_name_is_refused(authenticator, issuer):
    token = Issuer().token()
    assert await problem(authenticator(), token) == "invalid"


async def test_a_token_that_was_changed_is_refused(authenticator, issuer):
    header, _claims, signature = issuer.token("ada").split(".")
    other = issuer.token("eve").split(".")[1]
    assert await problem(authenticator(), f"{header}.{other}.{signature}") == "invalid"


async def test_a_key_that_was_withdrawn_is_not_taken(authenticator, issuer, tmp_path):
    found = authenticator()
    old = issuer.token()
    assert (await found.identify(old)).owner == "ada"
    issuer.add("k2")
    issuer.remove("k1")
    (tmp_path / "keys.json").write_text(issuer.key_set())
    assert await problem(found, old) == "key"
    assert (await found.identify(issuer.token())).owner == "ada"


async def test_a_token_without_a_key_id_is_taken_while_there_is_one_key(authenticator, issuer):
    token = issuer.token(headers={"kid": ""})
    assert (await authenticator().identify(token)).owner == "ada"
    issuer.add("k2")
    assert await problem(authenticator(), token) == "key"


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "a.b.c", "....", "é.é.é", "gator_0123456789", "[" * 100],
)
async def test_what_is_no_jwt_is_left_to_others(authenticator, token):
    assert await authenticator().identify(token) is None


async def test_a_header_that_is_nested_without_end_is_no_fault_of_the_service(authenticator):
    header = base64.urlsafe_b64encode(b"[" * 9_000).decode()
    assert await authenticator().identify(f"{header}.e30.e30") is None


async def test_an_extension_that_is_not_known_and_must_be_is_refused(authenticator, issuer):
    token = issuer.token(headers={"crit": ["exp"], "exp": 1})
    assert await authenticator().identify(token) is None


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, set()),
        ({"scope": "openid gator.read"}, {Scope.READ}),
        ({"scope": "gator.read gator.write"}, {Scope.READ, Scope.WRITE}),
        ({"scope": ["gator.write"]}, {Scope.WRITE}),
        ({"scope": "gator.reader"}, set()),
        ({"scope": {"gator.write": True}}, set()),
    ],
)
async def test_scopes_come_from_the_claim_that_is_named(authenticator, issuer, claims, scopes):
    identity = await authenticator(auth_scope_claim="scope").identify(issuer.token(**claims))
    assert identity.scopes == scopes


async def test_the_owner_may_be_another_claim(authenticator, issuer):
    found = authenticator(auth_owner_claim="tenant")
    assert (await found.identify(issuer.token(tenant="team-a"))).owner == "team-a"
    assert await problem(found, issuer.token()) == "claim"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "it is no JWK set"),
        ("[]", "it is no JWK set"),
        ('{"keys": 7}', "it is no JWK set"),
        ('{"keys": []}', "no key that checks signatures"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no key that checks signatures"),
        ('{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}', "it is no JWK set"),
        ('{"keys": [{"kty": "EC", "crv": "P-256", "d": "AA"}]}', "it holds a private key"),
    ],
)
def test_a_file_without_keys_is_told(tmp_path, content, told):
    file = tmp_path / "keys.json"
    file.write_text(content)
    settings = ClientFacingSettings(auth_jwks_file=file, auth_issuer=ISSUER, auth_audience=AUDIENCE)
    with pytest.raises(SettingsError, match=told):
        jwt_authenticator(settings)


async def test_keys_for_encryption_check_no_signatures(issuer, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(issuer.key_set(use="enc"))
    settings = ClientFacingSettings(auth_jwks_file=file, auth_issuer=ISSUER, auth_audience=AUDIENCE)
    with pytest.raises(SettingsError, match="no key that checks signatures"):
        jwt_authenticator(settings)
