#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A small gRPC service at a socket: greeter-server.py unix:PATH

Its messages are some of those that come with protobuf, so nothing has to be generated.
"""

import os
import sys
import time
from concurrent import futures

import grpc
from google.protobuf import wrappers_pb2 as messages


def hello(request, _context):
    return messages.StringValue(value=f'hello {request.value}, this is Linux {os.uname().release}')


def count(request, context):
    """A stream of numbers, each when its time has come. The caller may have enough before the end."""
    for i in range(request.value):
        if not context.is_active():
            return
        yield messages.Int32Value(value=i + 1)
        time.sleep(0.01)


def double(requests, _context):
    """A stream in each direction."""
    for request in requests:
        yield messages.Int32Value(value=2 * request.value)


def fail(_request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'this never works')


def method(make, function, request):
    return make(function, request_deserializer=request.FromString, response_serializer=lambda reply: reply.SerializeToString())


METHODS = {
    'Hello': method(grpc.unary_unary_rpc_method_handler, hello, messages.StringValue),
    'Count': method(grpc.unary_stream_rpc_method_handler, count, messages.Int32Value),
    'Double': method(grpc.stream_stream_rpc_method_handler, double, messages.Int32Value),
    'Fail': method(grpc.unary_unary_rpc_method_handler, fail, messages.StringValue),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler('demo.Greeter', METHODS)])
    server.add_insecure_port(sys.argv[1])
    server.start()
    print(f'serving at {sys.argv[1]}', flush=True)
    server.wait_for_termination()


if __name__ == '__main__':
    main()
