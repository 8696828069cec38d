// What one would write on Node: Hono and postgres.js, the same statements, the
// same answers, the same check of the token. Prints its port first.
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { jwtVerify } from 'jose'
import postgres from 'postgres'
import { randomUUID } from 'node:crypto'

const [host, database, secret] = process.argv.slice(2)
const sql = postgres({ host, port: 5432, database, username: 'shema', max: 24 })
const key = new TextEncoder().encode(secret)
const app = new Hono()

const envelope = (data) => ({
  success: true,
  data,
  meta: { timestamp: new Date().toISOString(), requestId: randomUUID().replaceAll('-', '') },
})

const columns = sql`c.id, c.title, c.description, c.level::text as level, c.instrument,
  c.price_per_session::float8 as price_per_session, c.duration_minutes, c.max_students, c.is_active,
  c.created_at, c.updated_at`

app.get('/hello', (c) => c.json(envelope({ message: 'Hello, world!' })))

app.get('/api/courses/:id', async (c) => {
  const [course] = await sql`select ${columns} from course.courses c where c.id = ${c.req.param('id')}`
  return course ? c.json(envelope(course)) : c.body(null, 404)
})

app.get('/api/courses', async (c) => {
  const limit = Number(c.req.query('limit') ?? 20)
  const courses = await sql`select ${columns} from course.courses c
    order by c.created_at desc, c.id desc limit ${limit}`
  const [{ total }] = await sql`select count(*)::int as total from course.courses c`
  const pagination = { page: 1, limit, total, total_pages: Math.ceil(total / limit) }
  return c.json(envelope({ courses, pagination }))
})

app.post('/api/courses', async (c) => {
  const [, token] = (c.req.header('authorization') ?? '').split(' ')
  const claims = await jwtVerify(token ?? '', key, {
    algorithms: ['HS256'], issuer: 'shema-music-auth', audience: 'shema-music-api',
  }).then((verified) => verified.payload, () => null)
  if (!claims) return c.body(null, 401)
  const [caller] = await sql`select u.role::text, exists (select from public.refresh_sessions s
    where s.id = ${claims.sid} and s.user_id = u.id and s.revoked_at is null) as lives
    from public.users u where u.id = ${claims.userId} and u.deleted_at is null`
  if (!caller?.lives || caller.role === 'student') return c.body(null, 403)
  const b = await c.req.json()
  const [course] = await sql`insert into course.courses as c (title, level, price_per_session, duration_minutes)
    values (${b.title}, ${b.level}, ${b.price_per_session}::float8, ${b.duration_minutes}) returning ${columns}`
  return c.json(envelope(course), 201)
})

serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, (info) => console.log(info.port))
