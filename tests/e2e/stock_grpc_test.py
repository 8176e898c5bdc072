"""A client that has nothing of ours but proto/*.proto: Debian's grpcio with stubs made on the spot.

It finds a file by its path, works out where the chunks are as docs/FORMAT.md says, reads them through
the Data service, checks every CRC32C, and writes a file of its own that the mount then reads.
"""

import math
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import grpc

from cluster import ClusterTest, free_port

REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
STUBS = tempfile.mkdtemp(prefix="sheaf-stubs.")
unittest.addModuleCleanup(shutil.rmtree, STUBS, ignore_errors=True)
subprocess.run(
    ["protoc", "--proto_path=" + REPOSITORY, "--python_out=" + STUBS, "--grpc_python_out=" + STUBS,
     "--plugin=protoc-gen-grpc_python=" + shutil.which("grpc_python_plugin"),
     *("proto/%s.proto" % name for name in ["common", "cluster", "meta", "data"])],
    cwd=REPOSITORY, check=True, timeout=120)
sys.path.insert(0, STUBS)
from proto import cluster_pb2, cluster_pb2_grpc, common_pb2, data_pb2, data_pb2_grpc  # noqa: E402
from proto import meta_pb2, meta_pb2_grpc  # noqa: E402

SECONDS = 60  # for one call
ROOT = 1
MASK = 2 ** 64 - 1
PIECE = 1 << 20  # bytes a read, well below gRPC's own default limit of 4 MiB a message
WRITE_ONLY = 1  # O_WRONLY

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def mix(value):
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def chain_position(layout, table_size, index):
    """docs/FORMAT.md, "Layout arithmetic"."""
    width = min(layout.stripe_width or table_size, table_size)
    start = mix(layout.seed) % table_size
    step = 1 + mix((layout.seed + 1) & MASK) % table_size
    while math.gcd(step, table_size) != 1:
        step += 1
    return (start + (index % width) * step) % table_size


class StockClient:
    """Names through the metadata service, bytes through the servers of the cluster map."""

    def __init__(self, address):
        self.channels = {}
        self.meta = meta_pb2_grpc.MetaStub(self.channel(address))
        self.cluster = cluster_pb2_grpc.ClusterStub(self.channel(address))
        self.caller = common_pb2.Caller(uid=os.geteuid(), gid=os.getegid())
        request = cluster_pb2.GetClusterMapRequest()
        self.map = self.cluster.GetClusterMap(request, timeout=SECONDS).map
        self.sequence = 0

    def channel(self, address):
        if address not in self.channels:
            self.channels[address] = grpc.insecure_channel(
                address, options=[("grpc.enable_http_proxy", 0)])
        return self.channels[address]

    def close(self):
        for channel in self.channels.values():
            channel.close()

    def context(self):
        return meta_pb2.Context(caller=self.caller)

    def find(self, path):
        inode, attr = ROOT, None
        for name in path.strip("/").split("/"):
            request = meta_pb2.LookupRequest(ctx=self.context(), parent=inode, name=name.encode())
            attr = self.meta.Lookup(request, timeout=SECONDS).attr
            inode = attr.inode
        return attr

    def chain_of(self, layout, index):
        table = next(each for each in self.map.tables if each.version == layout.table_version)
        number = table.chain_ids[chain_position(layout, len(table.chain_ids), index)]
        return next(each for each in self.map.chains if each.id == number)

    def server_of(self, target):
        node = next(each.node_id for each in self.map.targets if each.id == target)
        return next(each.addresses.grpc for each in self.map.nodes if each.id == node)

    def readers(self, chain):
        """Addresses of every replica that may be read."""
        return [self.server_of(member.target_id) for member in chain.members
                if member.state == cluster_pb2.SERVING]

    def data(self, address):
        return data_pb2_grpc.DataStub(self.channel(address))

    def pieces(self, attr):
        """(address, request) for each piece of the file, in its order."""
        chunk_size = 1 << attr.layout.chunk_size_log2
        for start in range(0, attr.size, PIECE):
            index, offset = divmod(start, chunk_size)
            chain = self.chain_of(attr.layout, index)
            yield self.readers(chain)[0], data_pb2.ReadChunkRequest(
                ctx=data_pb2.DataContext(chain_id=chain.id, chain_version=chain.version),
                chunk=data_pb2.ChunkId(data_id=attr.data_id, index=index),
                offset=offset, length=min(PIECE, attr.size - start, chunk_size - offset))

    def request_id(self, session):
        self.sequence += 1
        return common_pb2.RequestId(incarnation=session, sequence=self.sequence,
                                    lowest_outstanding=self.sequence)

    def mutation(self, session):
        return meta_pb2.Context(caller=self.caller, request=self.request_id(session))


def checked(answer, length):
    """The bytes of an answer; what lies past the chunk's end is a hole."""
    assert crc32c(answer.data) == answer.crc32c, "checksum mismatch"
    assert len(answer.data) <= length, "more than asked for"
    return answer.data + bytes(length - len(answer.data))


class StockGrpcTest(ClusterTest):
    cluster_arguments = {"storage": 3}

    def setUp(self):
        super().setUp()
        self.client = StockClient(self.cluster.meta_address)
        self.addCleanup(self.client.close)
        self.folder = "/" + os.path.basename(self.directory)

    def file(self, name, content):
        with open(self.path(name), "wb") as out:
            out.write(content)
        return self.client.find(self.folder + "/" + name)

    def test_layout_arithmetic_is_as_documented(self):
        for seed, width, size, expected in [
                (0, 0, 8, [7, 2, 5, 0, 3, 6, 1, 4, 7, 2]),
                (42, 4, 24, [13, 6, 23, 16, 13, 6, 23, 16, 13, 6]),
                (0x0123456789ABCDEF, 0, 17, [7, 1, 12, 6, 0, 11, 5, 16, 10, 4])]:
            layout = common_pb2.Layout(seed=seed, stripe_width=width)
            self.assertEqual([chain_position(layout, size, i) for i in range(10)], expected)
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)

    def test_reads_a_file_chunk_by_chunk(self):
        content = bytes(os.urandom(1 << 16)) * 144 + b"the end"  # two chunks and a bit
        os.mkdir(self.path("deep"))
        attr = self.file("deep/file", content)
        self.assertEqual(attr.size, len(content))
        read = b"".join(
            checked(self.client.data(address).Read(request, timeout=SECONDS), request.length)
            for address, request in self.client.pieces(attr))
        self.assertEqual(read, content)

    def test_reads_a_hole_as_zeros(self):
        with open(self.path("sparse"), "wb") as out:
            out.seek((8 << 20) + 100)
            out.write(b"x")
        attr = self.client.find(self.folder + "/sparse")
        read = b"".join(
            checked(self.client.data(address).Read(request, timeout=SECONDS), request.length)
            for address, request in self.client.pieces(attr))
        self.assertEqual(read, bytes((8 << 20) + 100) + b"x")

    def test_reads_many_in_one_call(self):
        contents = [b"%d " % number * (number * 97 + 1) for number in range(200)]
        wanted = {}  # server: [(file, request)]
        for number, content in enumerate(contents):
            for address, request in self.client.pieces(self.file("%d" % number, content)):
                wanted.setdefault(address, []).append((number, request))
        self.assertGreater(len(wanted), 1, "the files are spread over servers")
        read = {}
        for address, reads in wanted.items():
            nowhere = data_pb2.ReadChunkRequest(
                ctx=data_pb2.DataContext(chain_id=999_999, chain_version=1),
                chunk=data_pb2.ChunkId(data_id=1), length=1)
            request = data_pb2.BatchReadRequest(reads=[nowhere, *(each for _, each in reads)])
            slots = set()
            for answer in self.client.data(address).BatchRead(request, timeout=SECONDS):
                self.assertNotIn(answer.slot, slots)
                slots.add(answer.slot)
                if answer.slot == 0:  # one that fails does not fail the others
                    self.assertNotEqual(answer.error_code, 0)
                    self.assertIn("999999", answer.error_message)
                    continue
                self.assertEqual(answer.error_code, 0, answer.error_message)
                number, piece = reads[answer.slot - 1]
                read[number] = checked(answer.read, piece.length)
            self.assertEqual(slots, set(range(len(reads) + 1)))
        self.assertEqual([read[number] for number in range(len(contents))], contents)

    def test_errors_are_plain_grpc_ones(self):
        with self.assertRaises(grpc.RpcError) as missing:
            self.client.find(self.folder + "/nobody")
        self.assertEqual(missing.exception.code(), grpc.StatusCode.NOT_FOUND)
        address, request = next(self.client.pieces(self.file("file", b"content")))
        request.ctx.chain_version += 1
        with self.assertRaises(grpc.RpcError) as wrong:
            self.client.data(address).Read(request, timeout=SECONDS)
        self.assertEqual(wrong.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        nobody = self.client.data("127.0.0.1:%d" % free_port())
        with self.assertRaises(grpc.RpcError) as gone:
            nobody.Read(request, timeout=SECONDS)
        self.assertEqual(gone.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_writes_a_file_that_the_mount_reads(self):
        client, content = self.client, bytes(os.urandom(1 << 16)) * 70  # over one chunk
        session = client.cluster.OpenSession(
            cluster_pb2.OpenSessionRequest(description="stock client"), timeout=SECONDS).incarnation
        created = client.meta.Create(meta_pb2.CreateRequest(
            ctx=client.mutation(session), parent=client.find(self.folder).inode, name=b"mine",
            mode=0o640, exclusive=True, open_flags=WRITE_ONLY), timeout=SECONDS)
        self.assertTrue(created.created)
        attr = created.attr
        chunk_size = 1 << attr.layout.chunk_size_log2
        for number, start in enumerate(range(0, len(content), PIECE), 1):
            index, offset = divmod(start, chunk_size)
            chain = client.chain_of(attr.layout, index)
            piece = content[start:start + PIECE]
            request = data_pb2.WriteChunkRequest(
                ctx=data_pb2.DataContext(chain_id=chain.id, chain_version=chain.version,
                                         incarnation=session, stream=1, sequence=number),
                chunk=data_pb2.ChunkId(data_id=attr.data_id, index=index), offset=offset,
                chunk_size=chunk_size, crc32c=crc32c(piece) ^ 1, data=piece)
            head = client.data(client.server_of(chain.members[0].target_id))
            if number == 1:
                with self.assertRaises(grpc.RpcError) as damaged:  # the server checks it, too
                    head.Write(request, timeout=SECONDS)
                self.assertEqual(damaged.exception.code(), grpc.StatusCode.DATA_LOSS)
            request.crc32c ^= 1
            answer = head.Write(request, timeout=SECONDS)
            self.assertEqual(answer.chunk_length, offset + len(piece))
        report = meta_pb2.LengthReport(size_epoch=attr.size_epoch, length=len(content), wrote=True)
        client.meta.Close(meta_pb2.CloseRequest(ctx=client.mutation(session), inode=attr.inode,
                                                report=report), timeout=SECONDS)
        client.cluster.CloseSession(cluster_pb2.CloseSessionRequest(incarnation=session),
                                    timeout=SECONDS)
        with open(self.path("mine"), "rb") as file:
            self.assertEqual(file.read(), content)
        self.assertEqual(os.stat(self.path("mine")).st_mode & 0o7777, 0o640)


if __name__ == "__main__":
    unittest.main(verbosity=2)
