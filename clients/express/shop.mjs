// A shop that follows a level: `node shop.mjs [http://127.0.0.1:4320 [SERVICE [PORT]]]`.

import express from 'express';
import { degradation } from './degradation.mjs';

const [baseUrl = 'http://127.0.0.1:4320', service, port = '8080'] = process.argv.slice(2);
const follow = await degradation({ baseUrl, service, keep: ['/emergency'] });

const shop = express();
shop.disable('x-powered-by');
shop.use(follow);
shop.get('/quotes', async (_request, response) => {
  const others = (await follow.isOn('recommendations')) ? ', and what others bought' : '';
  response.send(`a quote${others}\n`);
});
shop.get('/orders', (_request, response) => response.send('orders\n'));
shop.post('/orders', (_request, response) => response.send('ordered\n'));
shop.post('/emergency', (_request, response) => response.send('somebody will call\n'));

const server = shop.listen(Number(port), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
