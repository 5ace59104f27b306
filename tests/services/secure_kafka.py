"""Apache Kafka with a listener that asks for TLS and a password, beside the open one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from stream.embedded import free_port
from tests.services.kafka import ApacheKafka
from tests.services.service import Unavailable

USER, PASSWORD = "tidecast", "s3cret-to-all"
_SECURE = """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
listener.name.secure.ssl.keystore.type=PKCS12
listener.name.secure.ssl.keystore.location={store}
listener.name.secure.ssl.keystore.password=changeit
listener.name.secure.ssl.key.password=changeit
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
"""


class SecureKafka(ApacheKafka):
    """Its certificate is for 127.0.0.1 alone, and signed by nobody but itself."""

    def __init__(self) -> None:
        super().__init__()
        self.secure_port = free_port()
        store, self.authority = self.folder / "broker.p12", self.folder / "broker.pem"
        key = ["-genkeypair", "-keyalg", "EC", "-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-validity", "2"]
        self._keytool(store, *key)
        self._keytool(store, "-exportcert", "-rfc", "-file", str(self.authority))
        given = self._settings.read_text(encoding="utf-8")
        listeners = re.sub(
            r"^((?:advertised\.)?listeners=.*)$",
            rf"\1,SECURE://127.0.0.1:{self.secure_port}",
            given,
            flags=re.MULTILINE,
        )
        secure = _SECURE.format(store=store, user=USER, password=PASSWORD)
        self._settings.write_text(listeners + secure, encoding="utf-8")

    def settings(self) -> dict[str, Any]:
        """Under kafka-python's names."""
        return {
            "bootstrap_servers": f"127.0.0.1:{self.secure_port}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": USER,
            "sasl_plain_password": PASSWORD,
            "ssl_cafile": str(self.authority),
            "bootstrap_timeout_ms": 4000,
        }

    def _keytool(self, store: Path, *arguments: str) -> None:
        keytool = shutil.which("keytool")
        if keytool is None:
            raise Unavailable("keytool is not on PATH: it comes with the package default-jre-headless")
        options = ["-alias", "broker", "-keystore", str(store), "-storetype", "PKCS12", "-storepass", "changeit"]
        subprocess.run([keytool, *arguments, *options], check=True, capture_output=True, timeout=60.0)
