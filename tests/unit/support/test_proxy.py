"""The proxy itself: what it counts is what passed, and what it breaks is what the plan says."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mqtt_packets import Names, NotMqtt, Packet, Packets, remaining_length
from tests.support.proxy import Act, Plan, Proxy
from tests.support.proxy_plan import Throttle
from tests.support.waiting import WAIT_S

CONNECT = bytes.fromhex("101000044d5154540402003c0004") + b"test"
PUBACK = b"\x40\x02\x00\x07"


def publish(topic: str, payload: bytes, packet_id: int = 7) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + payload
    return b"\x32" + remaining_length(len(body)) + body


class Server:
    """The broker's end: hands out each connection that arrives."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        self.address: tuple[str, int] = self._listener.getsockname()

    def accept(self) -> socket.socket:
        sock, _ = self._listener.accept()
        sock.settimeout(WAIT_S)
        return sock

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@contextmanager
def joined(server: Server, plan: Plan) -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """Give a proxy with one connection through it: (proxy, device's end, broker's end)."""
    with Proxy(server.address, plan) as proxy:
        device = socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S)
        broker = server.accept()
        try:
            yield proxy, device, broker
        finally:
            device.close()
            broker.close()


def connect_and_read_to_end(port: int) -> tuple[bytes, str]:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as device:
            return read_to_end(device)
    except ConnectionResetError:  # the reset may come before connect() is done
        return b"", "rst"


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return data


def read_to_end(sock: socket.socket) -> tuple[bytes, str]:
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        return data, "rst"
    return data, "fin"


def send_in_background(sock: socket.socket, data: bytes) -> threading.Thread:
    def work() -> None:
        with suppress(OSError):  # cut on purpose, which the reader's side asserts
            sock.sendall(data)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


# --- bytes ------------------------------------------------------------------------------------


def test_bytes_pass_unchanged_both_ways_and_are_counted(server: Server) -> None:
    noise = random.Random(1).randbytes(700_000)
    with joined(server, Plan()) as (proxy, device, broker):
        sender = send_in_background(broker, noise)
        assert read(device, len(noise)) == noise
        sender.join()
        device.sendall(b"hello")
        assert read(broker, 5) == b"hello"
        proxy.wait_for(lambda c: c.down_bytes == len(noise))
        assert (proxy.counters.up_bytes, proxy.counters.connections) == (5, 1)
        assert (proxy.counters.total_bytes, proxy.counters.cuts) == (len(noise) + 5, 0)


def test_an_end_that_closes_is_seen_as_closed_at_the_other(server: Server) -> None:
    with joined(server, Plan()) as (_, device, broker):
        device.sendall(b"bye")
        device.close()
        assert read_to_end(broker) == (b"bye", "fin")


@pytest.mark.parametrize("kind", ["rst", "fin"])
def test_a_connection_is_cut_at_exactly_byte_n(server: Server, kind: str) -> None:
    plan = Plan(cut_at_bytes=(12_345,), cut_kind="rst" if kind == "rst" else "fin")
    with joined(server, plan) as (proxy, device, broker):
        sender = send_in_background(broker, bytes(200_000))
        data, how = read_to_end(device)
        sender.join()
        assert (len(data), how) == (12_345, kind)
        proxy.wait_for(lambda c: c.cuts == 1)
        assert (proxy.counters.down_bytes, proxy.counters.cuts) == (12_345, 1)


def test_a_cut_on_the_way_up_comes_at_exactly_byte_n(server: Server) -> None:
    with joined(server, Plan(cut_up_at_bytes=(5,))) as (proxy, device, _):
        device.sendall(b"0123456789")
        assert read_to_end(device)[1] == "rst"
        proxy.wait_for(lambda c: (c.up_bytes, c.cuts) == (5, 1))


def test_random_cuts_come_about_every_n_bytes_and_by_seed(server: Server) -> None:
    def cut_points(seed: int) -> list[int]:
        points = []
        with Proxy(server.address, Plan(cut_every_bytes=10_000, seed=seed)) as proxy:
            for _ in range(5):
                device = socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S)
                broker = server.accept()
                sender = send_in_background(broker, bytes(100_000))
                points.append(len(read_to_end(device)[0]))
                sender.join()
                device.close()
                broker.close()
            proxy.wait_for(lambda c: c.cuts == 5)
            assert proxy.counters.down_bytes == sum(points)
        return points

    first = cut_points(1)
    assert all(5_000 <= point <= 15_000 for point in first)
    assert len(set(first)) > 1
    assert cut_points(1) == first
    assert cut_points(2) != first


def test_a_throttled_link_takes_its_time_in_small_slices(server: Server) -> None:
    size, bits_per_s = 40_000, 800_000
    with joined(server, Plan(down_bits_per_s=bits_per_s)) as (proxy, device, broker):
        taken: list[int] = []
        take = proxy.throttles["down"].take

        def watched(size_bytes: int, now_s: float) -> float:
            taken.append(size_bytes)
            return take(size_bytes, now_s)

        proxy.throttles["down"].take = watched  # type: ignore[method-assign]  # to look on
        sender = send_in_background(broker, bytes(size))
        assert len(read(device, size)) == size
        sender.join()
        assert max(taken) <= bits_per_s / 8 * 0.01
        assert sum(taken) >= size
        proxy.wait_for(lambda c: c.down_bytes == size)


def test_the_throttle_keeps_the_mean_rate_although_it_wakes_late() -> None:
    throttle, now_s = Throttle(8_000_000), 100.0
    start_s = now_s
    for _ in range(1_000):
        now_s += throttle.take(10_000, now_s) + 0.002  # each sleep is 2 ms too long
    assert (now_s - start_s) == pytest.approx(10.0, rel=0.02)


def test_the_throttle_does_not_save_up_for_a_burst_after_a_pause() -> None:
    throttle = Throttle(8_000_000)
    throttle.take(10_000, 100.0)
    free = 0
    while throttle.take(10_000, 200.0) == 0.0:
        free += 10_000
    assert free <= 110_000


def test_a_stalled_link_moves_nothing_and_closes_nothing_until_it_is_resumed(
    server: Server,
) -> None:
    with joined(server, Plan(stall_at_bytes=1_000)) as (proxy, device, broker):
        broker.sendall(bytes(3_000))
        assert len(read(device, 1_000)) == 1_000
        device.settimeout(0.2)
        with pytest.raises(TimeoutError):
            device.recv(1)
        proxy.resume()
        device.settimeout(WAIT_S)
        assert len(read(device, 2_000)) == 2_000


def test_a_half_open_link_swallows_what_the_device_sends(server: Server) -> None:
    with joined(server, Plan()) as (proxy, device, broker):
        device.sendall(b"one")
        assert read(broker, 3) == b"one"
        proxy.half_open()
        assert read_to_end(broker)[0] == b""
        device.sendall(b"two")
        proxy.wait_for(lambda c: c.up_bytes == 6)
        device.settimeout(0.2)
        with pytest.raises(TimeoutError):
            device.recv(1)


def test_severing_cuts_every_connection_at_once(server: Server) -> None:
    with Proxy(server.address) as proxy:
        devices = [
            socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S) for _ in "ab"
        ]
        brokers = [server.accept() for _ in devices]
        assert proxy.sever() == 2
        assert [read_to_end(device) for device in devices] == [(b"", "rst")] * 2
        assert proxy.counters.cuts == 2
        for sock in (*devices, *brokers):
            sock.close()


def test_new_connections_are_refused_for_as_long_as_asked(server: Server) -> None:
    with Proxy(server.address) as proxy:
        proxy.refuse()
        assert connect_and_read_to_end(proxy.port) == (b"", "rst")
        proxy.accept()
        device = socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S)
        server.accept().close()
        assert read_to_end(device) == (b"", "fin")
        device.close()
        assert (proxy.counters.connections, proxy.counters.refused) == (1, 1)


def test_a_broker_that_is_not_there_looks_like_a_reset_and_the_proxy_lives_on(
    server: Server,
) -> None:
    server.close()
    with Proxy(server.address) as proxy:
        for _ in range(2):
            assert connect_and_read_to_end(proxy.port) == (b"", "rst")


def test_delay_changes_neither_bytes_nor_order(server: Server) -> None:
    noise = random.Random(2).randbytes(100_000)
    with joined(server, Plan(delay_s=0.02)) as (_, device, broker):
        sender = send_in_background(broker, noise)
        assert read(device, len(noise)) == noise
        sender.join()
        device.sendall(b"x")
        assert read(broker, 1) == b"x"


def test_tls_passes_through_and_its_bytes_are_counted(server: Server, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    identity = authority.issue_server("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with joined(server, Plan(cut_at_bytes=(10_000_000,))) as (proxy, device, broker):

        def serve() -> None:
            with context.wrap_socket(broker, server_side=True) as sock:
                sock.sendall(b"secret")
                sock.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        client = ssl.create_default_context(cafile=str(authority.certificate))
        with client.wrap_socket(device, server_hostname="localhost") as sock:
            assert read(sock, 6) == b"secret"
            sock.sendall(b"x")
            thread.join()
        assert proxy.counters.down_bytes > 500
        assert not proxy.counters.down_packets


# --- packets ----------------------------------------------------------------------------------


def test_packets_are_counted_by_type_however_the_stream_is_torn() -> None:
    stream = CONNECT + publish("a", bytes(300)) + PUBACK + b"\xc0\x00"
    names = Names()
    seen = [name for i in range(len(stream)) for name in names.feed(stream[i : i + 1])]
    assert seen == ["CONNECT", "PUBLISH", "PUBACK", "PINGREQ"]
    assert list(Names().feed(stream)) == seen
    packets = Packets()
    whole = [p for i in range(0, len(stream), 7) for p in packets.feed(stream[i : i + 7])]
    assert b"".join(packet.raw for packet in whole) == stream
    assert [packet.name for packet in whole] == seen
    assert (whole[1].topic, whole[1].qos, whole[1].packet_id) == ("a", 1, b"\x00\x07")


def test_a_stream_that_cannot_be_mqtt_is_said_to_be_none() -> None:
    with pytest.raises(NotMqtt):
        list(Packets().feed(b"\x30\xff\xff\xff\xff\xff"))
    with pytest.raises(NotMqtt):
        list(Packets().feed(b"\x30\xff\xff\xff\x7f"))


def test_the_proxy_counts_packets_of_each_type(server: Server) -> None:
    with joined(server, Plan()) as (proxy, device, broker):
        device.sendall(CONNECT)
        read(broker, len(CONNECT))
        broker.sendall(publish("t", b"1") + publish("t", b"2"))
        device.sendall(PUBACK + PUBACK)
        proxy.wait_for(lambda c: c.down_packets["PUBLISH"] == 2 and c.up_packets["PUBACK"] == 2)
        assert proxy.counters.up_packets["CONNECT"] == 1


def through(server: Server, plan: Plan, packets: list[bytes], expected_bytes: int) -> bytes:
    """Send packets down through a plan, give what the device got."""
    with joined(server, plan) as (_, device, broker):
        device.sendall(CONNECT)
        assert read(broker, len(CONNECT)) == CONNECT
        broker.sendall(b"".join(packets))
        return read(device, expected_bytes)


CHUNKS = [publish(f"p/payloads/x/0/{i}", bytes([i]) * 500, i + 1) for i in range(8)]


def test_a_dropped_publish_never_arrives_and_the_broker_holds_it_for_delivered(
    server: Server,
) -> None:
    def third(packet: Packet) -> Act:
        return Act.DROP if packet.topic.endswith("/2") else Act.PASS

    with joined(server, Plan(decide=third)) as (proxy, device, broker):
        device.sendall(CONNECT)
        read(broker, len(CONNECT))
        broker.sendall(b"".join(CHUNKS))
        kept = b"".join(CHUNKS[:2] + CHUNKS[3:])
        assert read(device, len(kept)) == kept
        assert read(broker, 4) == b"\x40\x02\x00\x03"
        assert proxy.counters.dropped == 1


def test_a_duplicate_arrives_twice_the_second_marked_as_such(server: Server) -> None:
    got = through(server, Plan(duplicate_share=1.0), CHUNKS[:1], 2 * len(CHUNKS[0]))
    first, second = Packets().feed(got)
    assert first.raw == CHUNKS[0]
    assert second.raw[0] == first.raw[0] | 0x08
    assert second.raw[1:] == first.raw[1:]


def test_a_corrupted_publish_differs_in_one_bit_of_its_payload(server: Server) -> None:
    got = through(server, Plan(corrupt_share=1.0), CHUNKS[:1], len(CHUNKS[0]))
    assert got[:-1] == CHUNKS[0][:-1]
    assert got[-1] == CHUNKS[0][-1] ^ 1


def test_reordering_mixes_whole_packets_and_loses_none(server: Server) -> None:
    got = through(server, Plan(reorder_window=4), CHUNKS, sum(map(len, CHUNKS)))
    packets = [packet.raw for packet in Packets().feed(got)]
    assert sorted(packets) == sorted(CHUNKS)
    assert packets != CHUNKS


def test_faults_spare_topics_that_the_plan_does_not_name(server: Server) -> None:
    notice = publish("p/models/m/notice", b"n")
    assert through(server, Plan(drop_share=1.0), [CHUNKS[0], notice], len(notice)) == notice


def test_shares_are_kept_by_seed() -> None:
    def acts(seed: int) -> list[Act | None]:
        plan = Plan(drop_share=0.2, duplicate_share=0.2, corrupt_share=0.2, seed=seed)
        with Proxy(("127.0.0.1", 1), plan) as proxy:
            return [proxy.decide(Packet(CHUNKS[0])) for _ in range(300)]

    first = acts(1)
    assert acts(1) == first
    assert acts(2) != first
    for act in (Act.DROP, Act.DUPLICATE, Act.CORRUPT):
        assert 30 <= first.count(act) <= 90


def test_a_tap_sees_whole_packets_of_both_directions(server: Server) -> None:
    seen: list[tuple[str, str]] = []
    plan = Plan(tap=lambda way, packet: seen.append((way, packet.name)))
    with joined(server, plan) as (_, device, broker):
        device.sendall(CONNECT[:5])
        device.sendall(CONNECT[5:])
        assert read(broker, len(CONNECT)) == CONNECT
        broker.sendall(CHUNKS[0])
        assert read(device, len(CHUNKS[0])) == CHUNKS[0]
    assert seen == [("up", "CONNECT"), ("down", "PUBLISH")]


def test_packet_faults_asked_of_a_connection_that_is_not_mqtt_are_an_error(server: Server) -> None:
    def use() -> None:
        with joined(server, Plan(drop_share=0.1)) as (_, device, _broker):
            device.sendall(b"\x16\x03\x01")
            read_to_end(device)

    with pytest.raises(NotMqtt, match="plain MQTT"):
        use()
