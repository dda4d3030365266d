"""AWS's own command line against bulla-kms: its signatures are taken, its replies understood.

usage: awscli_test.py PATH_TO_BULLA_KMS    (exit status 77: no awscli on this machine)
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

REGION = "eu-central-1"
START_SECONDS_MAX = 30


class Kms:
    """bulla-kms on a free port, for the length of a `with`."""

    def __init__(self, program, data, folder):
        self.ready_file = os.path.join(folder, "ready.json")
        if os.path.exists(self.ready_file):
            os.unlink(self.ready_file)
        self.process = subprocess.Popen(
            [program, "--data", data, "--region", REGION, "--ready-file", self.ready_file])

    def __enter__(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not os.path.exists(self.ready_file):
            assert self.process.poll() is None, "bulla-kms ended at its start"
            assert time.monotonic() < deadline, "bulla-kms is not ready"
            time.sleep(0.02)  # between two looks
        with open(self.ready_file) as file:
            self.url = "http://" + json.load(file)["listen"]
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, "bulla-kms did not end well"


def environment(folder, secret="bulla-development-only"):
    """Nothing of the user's: no profile, no credentials, no metadata service, no proxy."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "AWS_ACCESS_KEY_ID": "BULLADEVELOPMENT",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.path.join(folder, "none"),
        "AWS_SHARED_CREDENTIALS_FILE": os.path.join(folder, "none"),
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
        "NO_PROXY": "127.0.0.1",
    }


def aws(kms, env, *arguments):
    return subprocess.run(
        ["aws", "kms", *arguments, "--endpoint-url", kms.url, "--output", "json"],
        env=env, capture_output=True, text=True, timeout=120)


def aws_ok(kms, env, *arguments):
    result = aws(kms, env, *arguments)
    assert result.returncode == 0, f"aws kms {arguments[0]}: {result.stderr}"
    return json.loads(result.stdout)


def aws_fails(kms, env, name, *arguments):
    result = aws(kms, env, *arguments)
    assert result.returncode != 0, f"aws kms {arguments[0]} succeeded, wanted {name}"
    assert name in result.stderr, f"wanted {name}: {result.stderr}"


def write_blob(folder, text):
    path = os.path.join(folder, "blob")
    with open(path, "wb") as file:
        file.write(base64.b64decode(text))
    return "fileb://" + path


def main():
    program = sys.argv[1]
    if not shutil.which("aws"):
        print("skipped: no awscli on this machine (Debian package awscli)")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        env = environment(folder)
        data = os.path.join(folder, "data")
        with Kms(program, data, folder) as kms:
            key = aws_ok(kms, env, "create-key", "--description", "by awscli")["KeyMetadata"]
            assert key["Arn"].startswith(f"arn:aws:kms:{REGION}:"), key
            described = aws_ok(kms, env, "describe-key", "--key-id", key["KeyId"])["KeyMetadata"]
            assert described["Arn"] == key["Arn"] and described["Description"] == "by awscli"
            data_key = aws_ok(kms, env, "generate-data-key", "--key-id", key["Arn"],
                              "--key-spec", "AES_256", "--encryption-context", "a=1,b=2")
            assert len(base64.b64decode(data_key["Plaintext"])) == 32
        with Kms(program, data, folder) as kms:  # started anew: the key is still there
            blob = write_blob(folder, data_key["CiphertextBlob"])
            opened = aws_ok(kms, env, "decrypt", "--ciphertext-blob", blob,
                            "--encryption-context", "b=2,a=1")
            assert opened["Plaintext"] == data_key["Plaintext"] and opened["KeyId"] == key["Arn"]
            aws_fails(kms, env, "InvalidCiphertextException", "decrypt", "--ciphertext-blob", blob,
                      "--encryption-context", "a=1")
            aws_fails(kms, env, "NotFoundException", "describe-key", "--key-id", "nobody")
            aws_fails(kms, environment(folder, secret="wrong"), "InvalidSignatureException",
                      "describe-key", "--key-id", key["KeyId"])
            with urllib.request.urlopen(kms.url + "/stats") as reply:
                stats = json.load(reply)
            assert stats["Decrypt"] == 2 and stats["DescribeKey"] == 1, stats
    print("awscli and bulla-kms agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
