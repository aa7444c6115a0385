"""What a domain's XML gets so that its balloon has the features."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.libvirt.description import FEATURES, Description
from fastballoon_cli.libvirt.extend import extend

_XML = """<domain type='qemu'{namespace}>
  <name>web</name><memory unit='GiB'>1</memory>
  <metadata><x:note xmlns:x='http://example.org/x'>kept</x:note></metadata>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><memballoon model='virtio'>{alias}</memballoon></devices>
  {more}
</domain>"""
_NAMESPACE = " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


def xml(*, alias="", more="", namespace=_NAMESPACE):
    return _XML.format(alias=alias, more=more, namespace=namespace)


def properties(made):
    root = ElementTree.fromstring(made)
    return {
        device.get("alias"): [one.get("name") for one in device.iter() if one.tag.endswith("property")]
        for device in root.iter("{http://libvirt.org/schemas/domain/qemu/1.0}device")
    }


def arguments(made):
    return [one.get("value") for one in ElementTree.fromstring(made).iter() if one.tag.endswith("}arg")]


def test_features_emulator_and_firmware_are_added_and_what_is_there_stays():
    made = extend(
        xml(namespace=""), libvirt_version="9.0.0", emulator=Path("/opt/qemu"), firmware=(Path("/usr/share/seabios"),)
    )
    assert properties(made.xml) == {"balloon0": list(FEATURES)}
    assert arguments(made.xml) == ["-L", "/usr/share/seabios"]
    root = ElementTree.fromstring(made.xml)
    assert root.findtext("devices/emulator") == "/opt/qemu"
    assert root.findtext("metadata/{http://example.org/x}note") == "kept"
    assert "<emulator>/opt/qemu</emulator>" in made.added
    assert not Description.parse(xml(namespace="")).extended
    assert Description.parse(made.xml).extended
    # What was added is all of it.
    again = extend(
        made.xml, libvirt_version="9.0.0", emulator=Path("/opt/qemu"), firmware=(Path("/usr/share/seabios"),)
    )
    assert again.added == ""


def test_a_name_that_the_user_has_given_the_device_is_kept_to():
    assert properties(extend(xml(alias="<alias name='ua-b'/>"), libvirt_version="11.3.0").xml) == {
        "ua-b": list(FEATURES)
    }


def test_a_feature_that_the_user_has_switched_off_stays_off():
    more = """<qemu:override><qemu:device alias='balloon0'><qemu:frontend>
      <qemu:property name='x-drop-cache' type='bool' value='false'/></qemu:frontend></qemu:device></qemu:override>"""
    made = extend(xml(more=more), libvirt_version="9.0.0")
    assert properties(made.xml) == {"balloon0": ["x-drop-cache", "x-page-bitmap", "x-free-pages"]}
    assert "x-drop-cache" not in made.added


def test_only_what_the_qemu_has_is_switched_on():
    assert properties(extend(xml(), libvirt_version="9.0.0", features=["x-page-bitmap"]).xml) == {
        "balloon0": ["x-page-bitmap"]
    }


def test_a_libvirt_before_override_gets_arguments():
    made = extend(xml(), libvirt_version="8.1.0")
    assert properties(made.xml) == {}
    assert arguments(made.xml)[:2] == ["-global", "virtio-balloon-pci.x-page-bitmap=on"]
    assert extend(made.xml, libvirt_version="8.1.0").added == ""


def test_a_domain_without_a_balloon_is_refused():
    with pytest.raises(PreconditionError, match="has no balloon") as error:
        extend(xml().replace("model='virtio'", "model='none'"), libvirt_version="9.0.0")
    assert "<memballoon model='virtio'/>" in error.value.hint
