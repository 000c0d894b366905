/** What users can name, the same in Node and in browsers. */
export { type ErrorCode, FlowbusError } from '../errors.js';
export type { AgentState, Balance } from '../wire/control.js';
export type { Priority } from '../wire/frame.js';
export type { Retry } from '../wire/retry.js';
export { Agent, type AgentCounts } from './agent.js';
export type { AgentFilter, AgentRecord, CapabilityTarget } from './directory.js';
export type { AgentEvents, BreakerEvent, Disconnect, Gap, Pressure, Reconnect } from './events.js';
export { Message, type ReplyOptions } from './message.js';
export type { AssuredOptions, PublishOptions, RequestOptions, SendOptions } from './message-options.js';
export type { BreakerOptions, ConnectOptions, MailboxOptions, ReconnectOptions } from './options.js';
export type { Payload } from './payload.js';
export type { Stored } from './requests.js';
export type { Handler, SubscribeOptions, Subscription } from './subscriptions.js';
