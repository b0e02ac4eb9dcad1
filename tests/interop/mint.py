"""Mints JWTs as an EHR written in Python does: a fresh key and a token for each algorithm and library.

Prints one JSON line each: {"library": …, "alg": …, "jwk": the public key, "token": …}.
"""

import argparse
import base64
import json
import uuid

import jwcrypto.jwk
import jwcrypto.jwt
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from importlib.metadata import version

ALGORITHMS = ["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
# One vendor's key ids are plain base64 of a thumbprint: with `+`, `/` and `=`, which a URL or a file name would bend.
PLAIN_BASE64_KID = "ES384"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iss", required=True)
    parser.add_argument("--aud", required=True, action="append", help="given twice: an array")
    parser.add_argument("--iat", required=True, type=int, help="seconds since 1970")
    parser.add_argument("--exp", required=True, type=int, help="seconds since 1970")
    parser.add_argument("--tenant")
    parser.add_argument("--jku")
    return parser.parse_args()


def claims(args):
    said = {
        "iss": args.iss,
        "aud": args.aud if len(args.aud) > 1 else args.aud[0],
        "iat": args.iat,
        "exp": args.exp,
        "jti": str(uuid.uuid4()),
    }
    if args.tenant is not None:
        said["tenant"] = args.tenant
    return said


def thumbprint(public_jwk):
    """The RFC 7638 thumbprint, base64url."""
    return jwcrypto.jwk.JWK(**public_jwk).thumbprint()


def plain_base64(base64url):
    return base64.b64encode(base64.urlsafe_b64decode(base64url + "=")).decode()


def key_id(alg, public_jwk):
    """The key's id, or None where another key has to be drawn: this one's id would not show the characters."""
    kid = thumbprint(public_jwk)
    if alg != PLAIN_BASE64_KID:
        return kid
    kid = plain_base64(kid)
    return kid if "+" in kid and "/" in kid else None


def described(public_jwk, alg, kid):
    return {**public_jwk, "kid": kid, "alg": alg, "use": "sig"}


def header(args, kid):
    return {"typ": "JWT", "kid": kid} | ({"jku": args.jku} if args.jku is not None else {})


def new_key(alg):
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if alg == "ES384":
        return ec.generate_private_key(ec.SECP384R1())
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def mint_with_pyjwt(alg, args):
    algorithm = jwt.get_algorithm_by_name(alg)
    kid = None
    while kid is None:
        key = new_key(alg)
        public_jwk = algorithm.to_jwk(key.public_key(), as_dict=True)
        public_jwk.pop("key_ops", None)
        kid = key_id(alg, public_jwk)
    token = jwt.encode(claims(args), key, algorithm=alg, headers=header(args, kid))
    return described(public_jwk, alg, kid), token


def new_jwcrypto_key(alg):
    kinds = {
        "ES256": {"kty": "EC", "crv": "P-256"},
        "ES384": {"kty": "EC", "crv": "P-384"},
        "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    }
    return jwcrypto.jwk.JWK.generate(**kinds.get(alg, {"kty": "RSA", "size": 2048}))


def mint_with_jwcrypto(alg, args):
    kid = None
    while kid is None:
        key = new_jwcrypto_key(alg)
        public_jwk = key.export_public(as_dict=True)
        kid = key_id(alg, public_jwk)
    token = jwcrypto.jwt.JWT(header={"alg": alg, **header(args, kid)}, claims=claims(args), algs=[alg])
    token.make_signed_token(key)
    return described(public_jwk, alg, kid), token.serialize()


def main():
    args = arguments()
    for library, mint in [("PyJWT", mint_with_pyjwt), ("jwcrypto", mint_with_jwcrypto)]:
        for alg in ALGORITHMS:
            public_jwk, token = mint(alg, args)
            line = {"library": f"{library} {version(library)}", "alg": alg, "jwk": public_jwk, "token": token}
            print(json.dumps(line))


main()
