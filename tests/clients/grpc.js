// gRPC clients of the service: from api/, and from what the server says about itself.

import path from 'node:path';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

import { root } from './service.js';

const options = { keepCase: false, longs: Number, defaults: true };

export function signerFromProto(address) {
  const definition = protoLoader.loadSync('bulla/v1/signer.proto',
    { ...options, includeDirs: [path.join(root, 'api')] });
  return newSigner(definition, address);
}

function newSigner(definition, address) {
  const { Signer } = grpc.loadPackageDefinition(definition).bulla.v1;
  return new Signer(address, grpc.credentials.createInsecure());
}

// A unary call as a promise.
export const call = (client, method, request, metadata = new grpc.Metadata()) =>
  new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline: Date.now() + 30_000 },
      (error, response) => (error ? reject(error) : resolve(response)));
  });

// The two standard services, as far as these tests speak them (grpc.io: "Server Reflection",
// "Health Checking").
const field = (type, id, rule) => (rule ? { type, id, rule } : { type, id });
const standard = protoLoader.fromJSON({
  nested: {
    grpc: {
      nested: {
        reflection: {
          nested: {
            v1alpha: {
              nested: {
                Request: {
                  fields: {
                    fileContainingSymbol: field('string', 4),
                    listServices: field('string', 7),
                  },
                },
                Files: { fields: { fileDescriptorProto: field('bytes', 1, 'repeated') } },
                Service: { fields: { name: field('string', 1) } },
                Services: { fields: { service: field('Service', 1, 'repeated') } },
                Failure: {
                  fields: { errorCode: field('int32', 1), errorMessage: field('string', 2) },
                },
                Response: {
                  fields: {
                    files: field('Files', 4),
                    services: field('Services', 6),
                    failure: field('Failure', 7),
                  },
                },
                ServerReflection: {
                  methods: {
                    ServerReflectionInfo: {
                      requestType: 'Request',
                      requestStream: true,
                      responseType: 'Response',
                      responseStream: true,
                    },
                  },
                },
              },
            },
          },
        },
        health: {
          nested: {
            v1: {
              nested: {
                HealthCheckRequest: { fields: { service: field('string', 1) } },
                HealthCheckResponse: { fields: { status: field('int32', 1) } },
                Health: {
                  methods: {
                    Check: {
                      requestType: 'HealthCheckRequest',
                      responseType: 'HealthCheckResponse',
                    },
                  },
                },
              },
            },
          },
        },
      },
    },
  },
}, { keepCase: true });
const services = grpc.loadPackageDefinition(standard).grpc;

export function healthClient(address) {
  return new services.health.v1.Health(address, grpc.credentials.createInsecure());
}

// Asks the reflection service one thing.
function reflect(address, request) {
  const client = new services.reflection.v1alpha.ServerReflection(
    address, grpc.credentials.createInsecure());
  return new Promise((resolve, reject) => {
    const stream = client.ServerReflectionInfo({ deadline: Date.now() + 30_000 });
    stream.on('data', resolve);
    stream.on('error', reject);
    stream.on('end', () => reject(new Error('the stream ended without an answer')));
    stream.write(request);
    stream.end();
  }).finally(() => client.close());
}

export async function servicesByReflection(address) {
  const { services: list } = await reflect(address, { listServices: '*' });
  return list.service.map((service) => service.name);
}

export async function signerFromReflection(address) {
  const { files } = await reflect(address, { fileContainingSymbol: 'bulla.v1.Signer' });
  // A FileDescriptorSet is its files, each behind the tag of field 1 and its length as a varint.
  const set = Buffer.concat(files.fileDescriptorProto.flatMap((file) => {
    const prefix = [0x0a];
    let length = file.length;
    for (; length > 0x7f; length >>>= 7) prefix.push((length & 0x7f) | 0x80);
    prefix.push(length);
    return [Buffer.from(prefix), file];
  }));
  return newSigner(protoLoader.loadFileDescriptorSetFromBuffer(set, options), address);
}
