// Node's http and net.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const net = require('net');

const [program, port, file] = process.argv.slice(2);
const content = file ? fs.readFileSync(file) : null;
const sum = (bytes) => `${bytes.length} ${crypto.createHash('sha256').update(bytes).digest('hex')}`;
const fail = (why) => { console.error(why); process.exit(1); };

const body = (stream, then) => {
  const parts = [];
  stream.on('data', (part) => parts.push(part));
  stream.on('end', () => then(Buffer.concat(parts)));
  stream.on('error', fail);
};

const programs = {
  'http-server': () => http.createServer((request, response) => {
    if (request.method === 'POST') {
      body(request, (bytes) => response.end(sum(bytes)));
    } else {
      response.end(content.subarray(0, Number(request.url.split('/').pop())));
    }
  }).listen(port, '127.0.0.1'),

  'http-client': async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (method, path, bytes) => new Promise((resolve) => {
      const request = http.request({ port, host: '127.0.0.1', method, path, agent }, (answer) => body(answer, resolve));
      request.on('error', fail);
      request.end(bytes);
    });
    for (let i = 0; i < 200; i++) {
      if (!content.subarray(0, 1024).equals(await ask('GET', '/bytes/1024'))) fail('a small answer differs');
    }
    if (!content.equals(await ask('GET', `/bytes/${content.length}`))) fail('the large answer differs');
    if (String(await ask('POST', '/sum', content)) !== sum(content)) fail('the server received other bytes');
    console.log('equal');
    agent.destroy();
  },

  'net-server': () => net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  }).listen(port, '127.0.0.1'),

  'net-client': () => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const round = content.subarray(0, 1024);
    let rounds = 0;
    let got = Buffer.alloc(0);
    socket.on('error', fail);
    socket.on('connect', () => socket.write(round));
    socket.on('data', (part) => {
      got = Buffer.concat([got, part]);
      if (rounds === 200 || got.length < round.length) return;
      if (!got.equals(round)) fail('a round trip differs');
      got = Buffer.alloc(0);
      if (++rounds < 200) socket.write(round);
      else socket.end(content);
    });
    socket.on('end', () => {
      if (!got.equals(content)) fail(`${got.length} of ${content.length} bytes came back, or others`);
      console.log('equal');
    });
  },
};

(programs[program] || (() => fail(`unknown program ${program}`)))();
