"""A tour of the cluster from Python, with classes that grpcio-tools makes from the .proto.

    pip install grpcio-tools
    python -m grpc_tools.protoc -I crates/lsm-proto/proto --python_out=. --grpc_python_out=. kv.proto
    python examples/cluster/tour.py 127.0.0.1:4001
"""

import os
import sys

sys.path.insert(0, os.getcwd())

import grpc
import kv_pb2
import kv_pb2_grpc


def main(node):
    with grpc.insecure_channel(node) as channel:
        kv = kv_pb2_grpc.KVServiceStub(channel)

        # A write with a session can be sent again, and takes effect once.
        sessions = kv_pb2_grpc.SessionServiceStub(channel)
        session = sessions.OpenSession(kv_pb2.OpenSessionRequest(), timeout=5).id
        put = kv_pb2.PutRequest(
            key=b"planet/earth",
            value=b"one moon",
            session=kv_pb2.Session(id=session, sequence=1),
        )
        kv.Put(put, timeout=5)
        again = kv.Put(put, timeout=5)
        print("earth is in the log at", again.index)

        kv.BatchWrite(
            kv_pb2.BatchWriteRequest(
                writes=[
                    kv_pb2.Write(put=kv_pb2.PutOp(key=b"planet/mars", value=b"two moons")),
                    kv_pb2.Write(put=kv_pb2.PutOp(key=b"star/sun", value=b"no moons")),
                ]
            ),
            timeout=5,
        )
        print("earth:", kv.Get(kv_pb2.GetRequest(key=b"planet/earth"), timeout=5).value.decode())

        for page in kv.ScanStream(kv_pb2.ScanRequest(prefix=b"planet/"), timeout=5):
            for entry in page.entries:
                print(entry.key.decode(), "has", entry.value.decode())

        try:
            kv.Put(kv_pb2.PutRequest(key=b""), timeout=5)
        except grpc.RpcError as error:
            print("refused:", error.code().name, error.details())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4001")
